"""The mined losses with the whole [N, M] matrix of distances: what the others must equal."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.kernels.mined.mining import Mining, mine_per_anchor, mine_semihard
from xdistill.kernels.mined.relations import Relations
from xdistill.numerics import EXCLUDED

Total = tuple[Float[Tensor, ""], Int64[Tensor, ""]]


class Options(NamedTuple):
    """How to mine and what to sum. `seed` is that of mining="random"."""

    margin: float
    k: int
    mining: Mining
    form: str
    tau: float
    seed: Int64[Tensor, ""]


def dense(
    a: Float[Tensor, "n d"],
    keys: Float[Tensor, "m d"],
    relations: Relations,
    options: Options,
    own: int = 0,
) -> Total:
    """The sum of all costs, and how many there are. The batch's keys come first among `keys`."""
    similarity = a @ keys.T  # [N, M]
    squares = a.square().sum(1)[:, None] + keys.square().sum(1)[None, :]
    # Rounding can push the distance of equal rows below 0, so what is used gets a clamp: its
    # gradient below 0 is 0, and so is that of the true distance at 0.
    distance = (squares - 2 * similarity).clamp(min=0)
    if options.form == "nce":
        return _nce(similarity / options.tau, distance.detach(), relations, options, own)
    near = distance[:, : relations.positive.shape[1]]  # [N, B]
    if options.mining == "all":
        return _all(near, distance, relations, options.margin)
    with torch.no_grad():
        if options.mining == "semihard":
            margin, k = options.margin, options.k
            mined = mine_semihard(near, distance, relations.negative, margin, k)
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
    """Every triplet without N·B·M numbers.

    Once an anchor's negatives are sorted, those that violate the margin of one positive are the
    first few, and the sum of their costs is their number times (d_ap + margin) less a running sum.
    """
    reach = near + margin
    with torch.no_grad():
        nearest, order = torch.where(relations.negative, distance, torch.inf).sort(dim=1)
        count = torch.searchsorted(nearest, reach)  # [N, B] negatives nearer than the reach
    far = torch.where(relations.negative, distance, 0.0).gather(1, order).cumsum(dim=1)
    far = F.pad(far, (1, 0)).gather(1, count)
    cost = torch.where(relations.positive, count * reach - far, 0.0).sum()
    return cost, count_triplets(relations)


def count_triplets(relations: Relations) -> Int64[Tensor, ""]:
    """How many (anchor, positive, negative) there are."""
    return (relations.positive.sum(dim=1) * relations.negative.sum(dim=1)).sum()


def _nce(
    scores: Float[Tensor, "n m"],
    distance: Float[Tensor, "n m"],
    relations: Relations,
    options: Options,
    own: int,
) -> Total:
    """softplus(log Σ_n e^s_in − log Σ_p e^s_ip) over the anchors: the negative log of the ratio.

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


def _mine(distance: Tensor, relations: Relations, options: Options, own: int):
    negative: Bool[Tensor, "n m"] = relations.negative
    return mine_per_anchor(distance, negative, options.k, options.mining, options.seed, own)
