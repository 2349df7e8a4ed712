"""The mined losses a few anchors at a time: value and gradient in one pass, nothing kept.

All distances of a chunk of anchors are there at once, since semi-hard mining ranks an anchor's
negatives anew for each of its positives. What the loss asks of each distance (or score) is one
coefficient, and the gradient of the rows is a matrix product with these coefficients. The sums that
make a coefficient are of whole numbers, so that their order does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.kernels.mined.mining import Mined, mine_per_anchor, mine_semihard, sort_rows
from xdistill.kernels.mined.reference import Options, count_triplets
from xdistill.kernels.mined.relations import Positives, Relations, Side, relate
from xdistill.numerics import EXCLUDED

NUMBERS = 2**20
"""Distances, and numbers per chosen negative, that a chunk of anchors may have."""


Miner = Callable[[Tensor, Relations, Options, int], Mined]


class Costs(NamedTuple):
    """What a chunk of C anchors adds.

    Attributes:
        total: sum of its costs.
        count: how many these are.
        slope: [C, M] of the total in each distance, or in each inner product for form="nce".
    """

    total: Float[Tensor, ""]
    count: Int64[Tensor, ""]
    slope: Float[Tensor, "c m"]


def fused(
    a: Float[Tensor, "n d"],
    p: Float[Tensor, "b d"],
    bank: Float[Tensor, "q d"] | None,
    anchors: Side,
    keys: Side,
    of_bank: Side | None,
    positives: Positives,
    own: int,
    options: Options,
    need_gradients: bool,
    impl: str = "tiled",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(sum of costs, their number, gradients in a and p, which are empty if not needed).

    With impl="triton" the negatives are found by `triton_khn`, without a sort.
    """
    mine = _mine if impl == "tiled" else _mine_by_triton
    everything = p if bank is None else torch.cat([p, bank])  # [M, D]
    b, m = len(p), len(everything)
    squares = everything.square().sum(dim=1)
    total, count = a.new_zeros(()), torch.zeros((), dtype=torch.int64, device=a.device)
    da = torch.zeros_like(a if need_gradients else a[:0])
    dp = torch.zeros_like(p if need_gradients else p[:0])
    step = max(1, NUMBERS // max(m, b * options.k, 1))
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        x = a[rows]
        relations = relate(anchors.rows(rows), keys, of_bank, positives, own + start)
        scores = x @ everything.T  # [C, M]
        distance = (x.square().sum(dim=1)[:, None] + squares[None, :]).sub_(scores, alpha=2)
        below = distance < 0
        distance.clamp_(min=0)
        if options.form == "nce":
            costs = _nce(scores.div_(options.tau), distance, relations, options, own + start, mine)
        else:
            costs = _triplets(distance, relations, options, own + start, mine)
        total, count = total + costs.total, count + costs.count
        if not need_gradients:
            continue
        w = costs.slope
        if options.form == "nce":
            da[rows] = w @ everything
            dp.addmm_(w[:, :b].T, x)
            continue
        # Of d = |x|² + |k|² − 2 x·k; one that rounding put below 0 is 0 and stays there.
        w.masked_fill_(below, 0.0)
        da[rows] = 2 * (w.sum(dim=1)[:, None] * x - w @ everything)
        dp += 2 * (w[:, :b].sum(dim=0)[:, None] * p - w[:, :b].T @ x)
    return total, count, da, dp


def _triplets(
    distance: Float[Tensor, "c m"], relations: Relations, options: Options, own: int, mine: Miner
) -> Costs:
    near = distance[:, : relations.positive.shape[1]]
    if options.mining == "all":
        return _all(near, distance, relations, options.margin)
    mined = mine(distance, relations, options, own)
    far = distance.gather(1, mined.place.flatten(1)).view(mined.place.shape)  # [C, P, K]
    chosen = relations.positive[:, :, None] & mined.found  # [C, B, K]
    cost = torch.where(chosen, F.relu(near[:, :, None] - far + options.margin), 0.0)
    active = (cost > 0).to(distance.dtype)
    slope = torch.zeros_like(distance)
    per_place = active if mined.place.shape[1] > 1 else active.sum(dim=1, keepdim=True)
    slope.scatter_add_(1, mined.place.flatten(1), -per_place.flatten(1))
    slope[:, : near.shape[1]] += active.sum(dim=2)
    return Costs(cost.sum(), chosen.sum(), slope)


def _all(
    near: Float[Tensor, "c b"], distance: Float[Tensor, "c m"], relations: Relations, margin: float
) -> Costs:
    """Every triplet: those of one positive end at a place among the sorted negatives."""
    nearest, order = sort_rows(torch.where(relations.negative, distance, torch.inf))
    reach = near + margin
    count = torch.searchsorted(nearest, reach)  # [C, B] negatives nearer than the reach
    sums = F.pad(nearest.masked_fill(nearest == torch.inf, 0.0).cumsum(dim=1), (1, 0))
    positive = relations.positive.to(distance.dtype)
    cost = (positive * (count * reach - sums.gather(1, count))).sum()
    ends = F.pad(torch.zeros_like(distance), (1, 0)).scatter_add_(1, count, positive)
    beyond = positive.sum(dim=1, keepdim=True) - ends.cumsum(dim=1)  # positives that end later
    slope = torch.zeros_like(distance).scatter_(1, order, -beyond[:, :-1])
    slope[:, : near.shape[1]] += count * positive
    return Costs(cost, count_triplets(relations), slope)


def _nce(
    scores: Float[Tensor, "c m"],
    distance: Float[Tensor, "c m"],
    relations: Relations,
    options: Options,
    own: int,
    mine: Miner,
) -> Costs:
    pushing = relations.negative
    if options.mining != "all":
        mined = mine(distance, relations, _per_anchor(options), own)
        place, found = mined.place.squeeze(1), mined.found.squeeze(1)
        # Added up, since places that were not found may repeat one that was.
        pushing = torch.zeros_like(scores).scatter_add_(1, place, found.to(scores.dtype)) > 0
    positive = relations.positive
    b = positive.shape[1]
    of_batch = scores[:, :b].masked_fill(~positive, EXCLUDED)
    scores.masked_fill_(~pushing, EXCLUDED)
    pull, push = of_batch.logsumexp(dim=1), scores.logsumexp(dim=1)
    cost = torch.where(relations.keep, F.softplus(push - pull), 0.0)
    weight = torch.where(relations.keep, torch.sigmoid(push - pull), 0.0) / options.tau
    slope = scores.sub_(push[:, None]).exp_().mul_(weight[:, None])
    slope[:, :b] -= (of_batch - pull[:, None]).exp_().mul_(weight[:, None])
    return Costs(cost.sum(), relations.keep.sum(), slope)


def _per_anchor(options: Options) -> Options:
    """Without a positive to relate to, semi-hard means the nearest."""
    return options._replace(mining="hard") if options.mining == "semihard" else options


def _mine(
    distance: Float[Tensor, "c m"], relations: Relations, options: Options, own: int
) -> Mined:
    negative, k = relations.negative, options.k
    if options.mining == "semihard":
        near = distance[:, : relations.positive.shape[1]]
        return mine_semihard(near, distance, negative, options.margin, k)
    return mine_per_anchor(distance, negative, k, options.mining, options.seed, own)


def _mine_by_triton(
    distance: Float[Tensor, "c m"], relations: Relations, options: Options, own: int
) -> Mined:
    from xdistill.kernels.mined.triton import nearest

    if options.mining == "semihard":
        near = distance[:, : relations.positive.shape[1]]
        low, high, wanted = near, near + options.margin, relations.positive
    else:
        low, high = (distance.new_full((len(distance), 1), x) for x in (-torch.inf, torch.inf))
        wanted = relations.keep[:, None]
    return nearest(distance, relations.negative, low, high, wanted, options.k)
