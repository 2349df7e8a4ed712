"""The mined losses with the whole [N, M] matrix of distances; the others must equal these."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.kernels.mined.mining import Mined, mine_per_anchor, mine_semihard
from xdistill.kernels.mined.options import Options
from xdistill.kernels.mined.relations import Relations, count_triplets
from xdistill.numerics import EXCLUDED

Total = tuple[Float[Tensor, ""], Int64[Tensor, ""]]


def khn(
    rows: Float[Tensor, "n d"],
    keys: Float[Tensor, "m d"],
    relations: Relations,
    options: Options,
    own: int = 0,
) -> Total:
    """The sum of all costs, and their number. The keys of the batch come first among `keys`."""
    similarity = rows @ keys.T  # [N, M]
    squares = rows.square().sum(1)[:, None] + keys.square().sum(1)[None, :]
    # Rounding can push the distance of equal rows below 0. The clamp has a gradient of 0 there, as
    # the true distance has at 0.
    distance = (squares - 2 * similarity).clamp(min=0)
    if options.form == "nce":
        return _nce(similarity / options.temperature, distance.detach(), relations, options, own)
    near = distance[:, : relations.positive.shape[1]]  # [N, B]
    if options.mining == "all":
        return _all(near, distance, relations, options.margin)
    with torch.no_grad():
        if options.mining == "semihard":
            margin, count = options.margin, options.num_negatives
            mined = mine_semihard(near, distance, relations.negative, margin, count)
        else:
            mined = _mine(distance, relations, options, own)
    far = distance.gather(1, mined.place.flatten(1)).view(mined.place.shape)  # [N, P, K]
    chosen = relations.positive[:, :, None] & mined.found  # [N, B, K]
    cost = F.relu(near[:, :, None] - far + options.margin)
    return torch.where(chosen, cost, 0.0).sum(), chosen.sum()


def _all(
    near: Float[Tensor, "n b"],
    distance: Float[Tensor, "n m"],
    relations: Relations,
    margin: float,
) -> Total:
    """Every triplet, without N·B·M numbers.

    Once an anchor's negatives are sorted, those that violate the margin of one positive come first,
    and the sum of their costs is their number times (d_ap + margin) minus a cumulative sum.
    """
    reach = near + margin
    with torch.no_grad():
        nearest, order = torch.where(relations.negative, distance, torch.inf).sort(dim=1)
        count = torch.searchsorted(nearest, reach)  # [N, B] negatives nearer than the reach
    far = torch.where(relations.negative, distance, 0.0).gather(1, order).cumsum(dim=1)
    far = F.pad(far, (1, 0)).gather(1, count)
    cost = torch.where(relations.positive, count * reach - far, 0.0).sum()
    return cost, count_triplets(relations)


def _nce(
    scores: Float[Tensor, "n m"],
    distance: Float[Tensor, "n m"],
    relations: Relations,
    options: Options,
    own: int,
) -> Total:
    """Σ_i softplus(log Σ_n e^s_in − log Σ_p e^s_ip), the negative logarithm of the ratio.

    It is exactly 0 for an anchor without negatives.
    """
    pushing = relations.negative
    if options.mining != "all":
        with torch.no_grad():
            mined = _mine(distance, relations, options, own)
            place, found = mined.place.squeeze(1), mined.found.squeeze(1)
            pushing = torch.zeros_like(pushing).scatter(1, place, found)
    positive = relations.positive
    pull = scores[:, : positive.shape[1]].masked_fill(~positive, EXCLUDED).logsumexp(dim=1)
    push = scores.masked_fill(~pushing, EXCLUDED).logsumexp(dim=1)
    cost = torch.where(relations.keep, F.softplus(push - pull), 0.0)
    return cost.sum(), relations.keep.sum()


def _mine(
    distance: Float[Tensor, "n m"], relations: Relations, options: Options, own: int
) -> Mined:
    count, mining, seed = options.num_negatives, options.mining, options.seed
    return mine_per_anchor(distance, relations.negative, count, mining, seed, own)
