"""Row statistics of a similarity matrix that is never built, and their gradients.

A matrix product computes the scores s_ij = x_i · k_j one tile at a time into one buffer, where they
are processed in place; the backward pass computes them again. The extra memory is one tile and a
few numbers per row. This is pure PyTorch for any device, with tiles that fit the cache of a CPU.
All passes visit the tiles in the same order, so that two runs agree bit for bit.

x and k must have zeros in the rows that `valid_x` and `valid_k` mask, and no upstream gradient may
reach these rows. Key j is row i's own when j = i + own. A label of -1 is unknown. What a function
returns is described in the module of its name in `kernels.passes`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.kernels.tiled.labels import Rule
from xdistill.numerics import EXCLUDED

ROWS, KEYS = 512, 1024
"""Size of a tile, which fits the second-level cache of a core together with both operands."""

LARGER_ON_GPU = 8
"""Factor on both on a GPU, where launching a kernel costs more than a cache saves."""

SAFE_SCORE = 30.0
"""Up to this |s|, sums of millions of e^s stay within float32 without a running maximum."""


def tiles(
    x: Float[Tensor, "n d"], k: Float[Tensor, "m d"]
) -> Iterator[tuple[slice, slice, Float[Tensor, "r c"]]]:
    """Yield every tile of x @ k.T with its rows and keys; the next tile overwrites it."""
    n, m = len(x), len(k)
    factor = LARGER_ON_GPU if x.is_cuda else 1
    height, width = ROWS * factor, KEYS * factor
    buffer = x.new_empty(min(height, n) * min(width, m))
    for i in range(0, n, height):
        rows = slice(i, min(i + height, n))
        for j in range(0, m, width):
            keys = slice(j, min(j + width, m))
            shape = rows.stop - i, keys.stop - j
            s = buffer[: shape[0] * shape[1]].view(shape)
            yield rows, keys, torch.mm(x[rows], k[keys].T, out=s)


class Gradients:
    """dx = G k and dk = Gᵀ x, accumulated over the tiles of G."""

    def __init__(self, x: Tensor, k: Tensor, need_x: bool, need_k: bool):
        self.x, self.k = x, k
        self.need_x, self.need_k = need_x, need_k
        self.dx = torch.zeros_like(x if need_x else x[:0])
        self.dk = torch.zeros_like(k if need_k else k[:0])

    def add(self, rows: slice, keys: slice, g: Float[Tensor, "r c"]) -> None:
        if self.need_x:
            self.dx[rows].addmm_(g, self.k[keys])
        if self.need_k:
            self.dk[keys].addmm_(g.T, self.x[rows])

    def get(self) -> tuple[Tensor, Tensor]:
        return self.dx, self.dk


class RunningLSE:
    """log Σ_j e^s_ij of each row, accumulated over tiles with a running maximum."""

    def __init__(self, n: int, like: Tensor):
        self.high = like.new_full((n,), EXCLUDED)
        self.total = like.new_zeros(n)

    def add(self, rows: slice, s: Float[Tensor, "r c"]) -> None:
        """Add the scores `s`, which are overwritten."""
        high = torch.maximum(self.high[rows], s.amax(dim=1))
        s.sub_(high[:, None]).exp_()
        self.total[rows] *= (self.high[rows] - high).exp_()
        self.total[rows] += s.sum(dim=1)
        self.high[rows] = high

    def value(self) -> Float[Tensor, " n"]:
        return torch.where(self.total > 0, self.high + self.total.log(), EXCLUDED)


def row_column_lse(x, k, valid_x, valid_k):
    """Log-sum-exp of each row and of each column."""
    n, m = len(x), len(k)
    if scores_are_small(x, k):
        row, column = x.new_zeros(n), x.new_zeros(m)
        count_x, count_k = _ones_or(valid_x, x), _ones_or(valid_k, k)
        for rows, keys, s in tiles(x, k):
            s.exp_()
            row[rows].addmv_(s, count_k[keys])
            column[keys].addmv_(s.T, count_x[rows])
        return tuple(torch.where(t > 0, t.log(), EXCLUDED) for t in (row, column))
    by_row, by_column = RunningLSE(n, x), RunningLSE(m, x)
    for rows, keys, s in tiles(x, k):
        if valid_k is not None:
            s.masked_fill_(~valid_k[None, keys], EXCLUDED)
        if valid_x is not None:
            s.masked_fill_(~valid_x[rows, None], EXCLUDED)
        by_column.add(keys, s.T.clone())
        by_row.add(rows, s)
    return by_row.value(), by_column.value()


def row_column_lse_backward(
    x, k, valid_x, valid_k, row, column, g_row, g_column, need_x, need_k
):  # fmt: skip
    """Gradients of `row_column_lse`."""
    gradients = Gradients(x, k, need_x, need_k)
    small = scores_are_small(x, k)
    if small:
        of_row, of_column = g_row * (-row).exp(), g_column * (-column).exp()
        of_row, of_column = of_row.nan_to_num(0, 0, 0), of_column.nan_to_num(0, 0, 0)
    for rows, keys, s in tiles(x, k):
        if small:
            g = s.exp_().mul_(of_row[rows, None] + of_column[None, keys])
        else:
            g = (s - row[rows, None]).clamp_(max=0).exp_().mul_(g_row[rows, None])
            s.sub_(column[None, keys]).clamp_(max=0).exp_()
            g.addcmul_(s, g_column[None, keys].expand_as(s))
        gradients.add(rows, keys, g)
    return _without_rows(gradients, valid_x, valid_k)


def row_lse(x, k, label_x, label_k, valid_k, own):
    """Log-sum-exp over the candidates, and sum of the scores over the positives."""
    rule, lse = Rule(label_x, label_k, valid_k, own), RunningLSE(len(x), x)
    for rows, keys, s in tiles(x, k):
        rule.exclude(rows, keys, s)
        lse.add(rows, s)
    return lse.value(), (x * rule.sum_keys(x, k)).sum(dim=1)


def row_lse_backward(
    x, k, label_x, label_k, valid_k, own, lse, g_lse, g_positive, need_x, need_k
):  # fmt: skip
    """Gradients of `row_lse`."""
    rule, gradients = Rule(label_x, label_k, valid_k, own), Gradients(x, k, need_x, need_k)
    for rows, keys, s in tiles(x, k):
        rule.exclude(rows, keys, s)
        gradients.add(rows, keys, s.sub_(lse[rows, None]).exp_().mul_(g_lse[rows, None]))
    _add_positives(gradients, rule, g_positive)
    return _without_rows(gradients, None, valid_k)


def top_lse(x, k, label_x, label_k, valid_k, own):
    """`row_lse` with the largest score kept apart."""
    rule = Rule(label_x, label_k, valid_k, own)
    others = RunningLSE(len(x), x)
    highest = x.new_full((len(x),), EXCLUDED)
    top = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for rows, keys, s in tiles(x, k):
        rule.exclude(rows, keys, s)
        high, place = s.max(dim=1, keepdim=True)
        s.scatter_(1, place, EXCLUDED)
        others.add(rows, s)
        high, place = high[:, 0], place[:, 0] + keys.start
        wins = high > highest[rows]
        others.add(rows, torch.minimum(high, highest[rows])[:, None].clone())
        highest[rows] = torch.maximum(high, highest[rows])
        top[rows] = torch.where(wins, place, top[rows])
    rest, positive = others.value(), (x * rule.sum_keys(x, k)).sum(dim=1)
    return torch.logaddexp(rest, highest), rest, positive, highest, top


def top_lse_backward(
    x, k, label_x, label_k, valid_k, own, lse, others, top,
    g_lse, g_others, g_positive, need_x, need_k,
):  # fmt: skip
    """Gradients of `top_lse`."""
    rule, gradients = Rule(label_x, label_k, valid_k, own), Gradients(x, k, need_x, need_k)
    # p_j = q_j e^(others − lse) for all but the largest, q being the softmax without it.
    gap = others - lse
    of_others, of_top = g_lse * gap.exp() + g_others, -g_lse * gap.expm1()
    for rows, keys, s in tiles(x, k):
        rule.exclude(rows, keys, s)
        g = s.sub_(others[rows, None]).clamp_(max=0).exp_().mul_(of_others[rows, None])
        _write_at(g, top[rows] - keys.start, of_top[rows])
        gradients.add(rows, keys, g)
    _add_positives(gradients, rule, g_positive)
    return _without_rows(gradients, None, valid_k)


def repel(x, k, label_x, label_k, valid_k, own, lse, top):
    """−log(1 − p) summed over the negatives."""
    rule = Rule(label_x, label_k, valid_k, own)
    total, weight, lse = x.new_zeros(len(x)), x.new_zeros(len(x)), rule.known_rows(lse)
    for rows, keys, s in tiles(x, k):
        odds = _odds_of_negatives(s, rule, rows, keys, lse, top)
        weight[rows] += odds.sum(dim=1)
        total[rows] += odds.log1p_().sum(dim=1)
    return total, weight


def repel_backward(
    x, k, label_x, label_k, valid_k, own, lse, top, g_repel, need_x, need_k
):  # fmt: skip
    """Gradients of `repel`."""
    rule, gradients = Rule(label_x, label_k, valid_k, own), Gradients(x, k, need_x, need_k)
    lse = rule.known_rows(lse)
    for rows, keys, s in tiles(x, k):
        odds = _odds_of_negatives(s, rule, rows, keys, lse, top)
        gradients.add(rows, keys, odds.mul_(g_repel[rows, None]))
    return _without_rows(gradients, None, valid_k)


def softplus_sum(x, k, bias, valid_k, own):
    """Softplus summed over the keys that are not the row's own."""
    rule, total = Rule(None, None, valid_k, own), x.new_zeros(len(x))
    small = scores_are_small(x, k, bias)
    for rows, keys, s in tiles(x, k):
        _leave_out_own(s.add_(bias), rule, rows, keys)
        values = s.exp_().log1p_() if small else F.logsigmoid(s.neg_()).neg_()
        total[rows] += values.sum(dim=1)
    return total


def softplus_sum_backward(x, k, bias, valid_k, own, g_sum, need_x, need_k):
    """Gradients of `softplus_sum`."""
    rule, gradients = Rule(None, None, valid_k, own), Gradients(x, k, need_x, need_k)
    dbias = torch.zeros_like(bias)
    for rows, keys, s in tiles(x, k):
        _leave_out_own(s.add_(bias), rule, rows, keys)
        g = s.sigmoid_().mul_(g_sum[rows, None])
        dbias += g.sum()
        gradients.add(rows, keys, g)
    dx, dk = _without_rows(gradients, None, valid_k)
    return dx, dk, dbias


def scores_are_small(x: Tensor, k: Tensor, bias: Tensor | None = None) -> bool:
    """Whether no |score| exceeds SAFE_SCORE. CPU only: on a GPU the host would have to wait."""
    if x.device.type != "cpu" or not len(x) or not len(k):
        return False
    bound = x.square().sum(dim=1).amax().sqrt() * k.square().sum(dim=1).amax().sqrt()
    return bool(bound + (0 if bias is None else bias.abs()) <= SAFE_SCORE)


def _ones_or(valid: Tensor | None, like: Tensor) -> Float[Tensor, " n"]:
    return like.new_ones(len(like)) if valid is None else valid.to(like.dtype)


def _without_rows(gradients: Gradients, valid_x: Tensor | None, valid_k: Tensor | None):
    """The gradients, with exact zeros in the masked rows."""
    dx, dk = gradients.get()
    if valid_x is not None and gradients.need_x:
        dx.masked_fill_(~valid_x[:, None], 0.0)
    if valid_k is not None and gradients.need_k:
        dk.masked_fill_(~valid_k[:, None], 0.0)
    return dx, dk


def _add_positives(gradients: Gradients, rule: Rule, g_positive: Float[Tensor, " n"]) -> None:
    """Add the gradient of the sum of scores over the positives."""
    x, k = gradients.x, gradients.k
    if gradients.need_x:
        gradients.dx += g_positive[:, None] * rule.sum_keys(x, k)
    if gradients.need_k:
        gradients.dk += rule.sum_rows(g_positive[:, None] * x, k)


def _write_at(s: Float[Tensor, "r c"], place: Int64[Tensor, " r"], value: Tensor | float) -> None:
    """Write `value` at one position of each row, if that lies in the tile."""
    inside = (place >= 0) & (place < s.shape[1])
    at = place.clamp(0, s.shape[1] - 1)[:, None]
    s.scatter_(1, at, torch.where(inside, value, s.gather(1, at)[:, 0])[:, None])


def _leave_out_own(s: Tensor, rule: Rule, rows: slice, keys: slice) -> None:
    found = rule.diagonal(rows, keys, s)
    if found is not None:
        found[0].fill_(EXCLUDED)
    rule.exclude(rows, keys, s)


def _odds_of_negatives(
    s: Tensor, rule: Rule, rows: slice, keys: slice, lse: Tensor, top: Tensor
) -> Float[Tensor, "r c"]:
    """w = p/(1 − p) of the negatives, so that −log(1 − p) = log(1 + w), and 0 elsewhere.

    w is 0 for each row's largest score, which has a formula of its own, and at most 1 elsewhere.
    """
    rule.exclude(rows, keys, s)
    w = s.neg_().add_(lse[rows, None]).expm1_().clamp_(min=1).reciprocal_()
    rule.drop_positives(rows, keys, w)
    _write_at(w, top[rows] - keys.start, 0.0)
    return w
