"""The mined losses, a few anchors at a time: value and gradients in one pass, nothing saved.

A chunk of anchors has all its distances in memory at once, since semi-hard mining ranks an anchor's
negatives anew for each of its positives. The slope of the loss in each distance (or score) is one
coefficient, and the gradient of the rows is a matrix product with these coefficients. A coefficient
is a sum of whole numbers, so the order of its terms does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.kernels.mined.mining import Mined, mine_per_anchor, mine_semihard, sort_rows
from xdistill.kernels.mined.options import Options
from xdistill.kernels.mined.relations import Positives, Relations, Side, count_triplets, relate
from xdistill.numerics import EXCLUDED

NUMBERS = 2**20
"""Bounds the memory of a chunk of anchors: at most so many distances, and as many numbers for
the chosen negatives of all its pairs."""

Miner = Callable[[Tensor, Relations, Options, int], Mined]


class Costs(NamedTuple):
    """The costs of a chunk of C anchors.

    Attributes:
        total: their sum.
        count: their number.
        slope: [C, M] derivative of the total in each distance, for form="nce" in each inner
            product.
    """

    total: Float[Tensor, ""]
    count: Int64[Tensor, ""]
    slope: Float[Tensor, "c m"]


def khn(
    rows: Float[Tensor, "n d"],
    keys: Float[Tensor, "b d"],
    bank: Float[Tensor, "q d"] | None,
    row_side: Side,
    key_side: Side,
    bank_side: Side | None,
    positives: Positives,
    own: int,
    options: Options,
    need_gradients: bool,
    mine: Miner,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(sum of the costs, their number, gradients in rows and in keys, empty if not needed).

    Key i + own is the pair of row i. `mine` chooses the negatives of a chunk of anchors.
    """
    all_keys = keys if bank is None else torch.cat([keys, bank])  # [M, D]
    b, m = len(keys), len(all_keys)
    squares = all_keys.square().sum(dim=1)
    total, count = rows.new_zeros(()), torch.zeros((), dtype=torch.int64, device=rows.device)
    d_rows = torch.zeros_like(rows if need_gradients else rows[:0])
    d_keys = torch.zeros_like(keys if need_gradients else keys[:0])
    step = max(1, NUMBERS // max(m, b * options.num_negatives, 1))
    for start in range(0, len(rows), step):
        chunk = slice(start, min(start + step, len(rows)))
        x = rows[chunk]
        relations = relate(row_side.rows(chunk), key_side, bank_side, positives, own + start)
        scores = x @ all_keys.T  # [C, M]
        distance = (x.square().sum(dim=1)[:, None] + squares[None, :]).sub_(scores, alpha=2)
        below = distance < 0
        distance.clamp_(min=0)
        if options.form == "nce":
            scores.div_(options.temperature)
            costs = _nce(scores, distance, relations, options, own + start, mine)
        else:
            costs = _triplets(distance, relations, options, own + start, mine)
        total, count = total + costs.total, count + costs.count
        if not need_gradients:
            continue
        w = costs.slope
        if options.form == "nce":
            d_rows[chunk] = w @ all_keys
            d_keys.addmm_(w[:, :b].T, x)
            continue
        # d = |x|² + |k|² − 2 x·k. One that rounding put below 0 was clamped and has no slope.
        w.masked_fill_(below, 0.0)
        d_rows[chunk] = 2 * (w.sum(dim=1)[:, None] * x - w @ all_keys)
        d_keys += 2 * (w[:, :b].sum(dim=0)[:, None] * keys - w[:, :b].T @ x)
    return total, count, d_rows, d_keys


def mine_by_sorting(
    distance: Float[Tensor, "c m"], relations: Relations, options: Options, own: int
) -> Mined:
    """The negatives of each anchor, or of each of its positives, from a sort of all distances."""
    negative, count = relations.negative, options.num_negatives
    if options.mining == "semihard":
        near = distance[:, : relations.positive.shape[1]]
        return mine_semihard(near, distance, negative, options.margin, count)
    return mine_per_anchor(distance, negative, count, options.mining, options.seed, own)


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
    """Every triplet: those of one positive are the first few of the sorted negatives."""
    nearest, order = sort_rows(torch.where(relations.negative, distance, torch.inf))
    reach = near + margin
    count = torch.searchsorted(nearest, reach)  # [C, B] negatives nearer than the reach
    sums = F.pad(nearest.masked_fill(nearest == torch.inf, 0.0).cumsum(dim=1), (1, 0))
    positive = relations.positive.to(distance.dtype)
    cost = (positive * (count * reach - sums.gather(1, count))).sum()
    ends = F.pad(torch.zeros_like(distance), (1, 0)).scatter_add_(1, count, positive)
    beyond = positive.sum(dim=1, keepdim=True) - ends.cumsum(dim=1)  # positives that reach further
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
        # A sum, since a place that was not found may repeat one that was.
        pushing = torch.zeros_like(scores).scatter_add_(1, place, found.to(scores.dtype)) > 0
    positive = relations.positive
    b = positive.shape[1]
    of_batch = scores[:, :b].masked_fill(~positive, EXCLUDED)
    scores.masked_fill_(~pushing, EXCLUDED)
    pull, push = of_batch.logsumexp(dim=1), scores.logsumexp(dim=1)
    cost = torch.where(relations.keep, F.softplus(push - pull), 0.0)
    weight = torch.where(relations.keep, torch.sigmoid(push - pull), 0.0) / options.temperature
    slope = scores.sub_(push[:, None]).exp_().mul_(weight[:, None])
    slope[:, :b] -= (of_batch - pull[:, None]).exp_().mul_(weight[:, None])
    return Costs(cost.sum(), relations.keep.sum(), slope)


def _per_anchor(options: Options) -> Options:
    """Semi-hard mining is relative to a positive; per anchor it means the nearest negatives."""
    return options._replace(mining="hard") if options.mining == "semihard" else options
