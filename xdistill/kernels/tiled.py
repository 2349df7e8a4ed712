"""Row statistics of a similarity matrix that is never built, and their gradients.

Scores s_ij = x_i · k_j come a tile at a time out of a matrix product into one buffer and are
worked on in place; the backward pass computes them again. The extra memory is that of one tile and
of a few numbers per row. Pure PyTorch, for any device, made for the CPU's cache. All passes go over
the tiles in one order, so that two runs agree bit for bit.

The callers give x and k with zeros in the rows that do not count (`valid_k`, `valid_x`), and no
upstream gradient to such rows. Key j is row i's own when j = i + own. Labels: -1 is unknown. What
the functions return is described once, in `operators`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.kernels.dispatch import EXCLUDED

ROWS, KEYS = 512, 1024
"""Scores of a tile: with both operands they stay in the second-level cache of a core."""

SAFE_SCORE = 30.0
"""Up to here e^s and sums of millions of them lie within float32 without a running maximum."""


def tiles(
    x: Float[Tensor, "n d"], k: Float[Tensor, "m d"]
) -> Iterator[tuple[slice, slice, Float[Tensor, "r c"]]]:
    """Every tile of x @ k.T with its rows and keys; the next one overwrites it."""
    n, m = len(x), len(k)
    buffer = x.new_empty(min(ROWS, n) * min(KEYS, m))
    for i in range(0, n, ROWS):
        rows = slice(i, min(i + ROWS, n))
        for j in range(0, m, KEYS):
            keys = slice(j, min(j + KEYS, m))
            shape = rows.stop - i, keys.stop - j
            s = buffer[: shape[0] * shape[1]].view(shape)
            yield rows, keys, torch.mm(x[rows], k[keys].T, out=s)


class Gradients:
    """dx = G k and dk = Gᵀ x, added up from the tiles of G."""

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
    """log Σ_j e^s_ij of each row, a tile at a time."""

    def __init__(self, n: int, like: Tensor):
        self.high = like.new_full((n,), EXCLUDED)
        self.total = like.new_zeros(n)

    def add(self, rows: slice, s: Float[Tensor, "r c"]) -> None:
        """Take in the scores `s`, which are overwritten."""
        high = torch.maximum(self.high[rows], s.amax(dim=1))
        s.sub_(high[:, None]).exp_()
        self.total[rows] *= (self.high[rows] - high).exp_()
        self.total[rows] += s.sum(dim=1)
        self.high[rows] = high

    def value(self) -> Float[Tensor, " n"]:
        return torch.where(self.total > 0, self.high + self.total.log(), EXCLUDED)


class Rule:
    """Which keys of a tile are a row's candidates and positives."""

    def __init__(
        self,
        label_x: Int64[Tensor, " n"] | None,
        label_k: Int64[Tensor, " m"] | None,
        valid_k: Bool[Tensor, " m"] | None,
        own: int | None,
    ):
        self.own, self.valid = own, valid_k
        self.labelled_x = self.label_x = self.label_k = self.missing = None
        if label_x is None or label_k is None:
            return
        # Two codes of "unknown", so that none equals another; a key that does not count is unknown.
        self.labelled_x = label_x >= 0
        self.label_x = label_x.masked_fill(~self.labelled_x, -2)
        known = label_k >= 0
        if label_k.device.type != "cpu" or not bool(known.all()):
            self.missing = ~known
        if valid_k is not None:
            known = known & valid_k
        self.label_k = label_k.masked_fill(~known, -1)

    def diagonal(
        self, rows: slice, keys: slice, tile: Tensor
    ) -> tuple[Float[Tensor, " o"], slice] | None:
        """The entries of a tile that belong to own pairs, as a view, and their keys."""
        if self.own is None:
            return None
        offset = rows.start + self.own - keys.start
        if offset >= tile.shape[1] or -offset >= tile.shape[0]:
            return None
        entries = tile.diagonal(offset)
        start = keys.start + max(offset, 0)
        return entries, slice(start, start + len(entries))

    def exclude(self, rows: slice, keys: slice, s: Float[Tensor, "r c"]) -> None:
        """Give EXCLUDED to the keys that are no candidates."""
        if self.missing is not None and self.labelled_x is not None:
            found = self.diagonal(rows, keys, s)
            kept = None if found is None else found[0].clone()
            s.masked_fill_(self.labelled_x[rows, None] & self.missing[None, keys], EXCLUDED)
            if found is not None and kept is not None:
                found[0].copy_(kept)
        if self.valid is not None:
            s.masked_fill_(~self.valid[None, keys], EXCLUDED)

    def positive(self, rows: slice, keys: slice, s: Tensor) -> Bool[Tensor, "r c"] | None:
        """The positives of a tile; None for a tile without any."""
        found = self.diagonal(rows, keys, s)
        if self.label_x is None or self.label_k is None:
            if found is None:
                return None
            same = torch.zeros(s.shape, dtype=torch.bool, device=s.device)
        else:
            same = self.label_x[rows, None] == self.label_k[None, keys]
        found = self.diagonal(rows, keys, same)
        if found is not None:
            entries, own = found
            entries.copy_(torch.ones_like(entries) if self.valid is None else self.valid[own])
        return same

    def keep_negatives(self, rows: slice, keys: slice, weight: Float[Tensor, "r c"]) -> None:
        """Zero the weights of the keys that are no negatives."""
        found = self.diagonal(rows, keys, weight)
        if found is not None:
            found[0].zero_()
        if self.label_x is None or self.label_k is None or self.labelled_x is None:
            if self.valid is not None:
                weight.mul_(self.valid[None, keys])
            return
        weight.masked_fill_(self.label_x[rows, None] == self.label_k[None, keys], 0.0)
        weight.mul_((self.label_k[keys] >= 0)[None, :])
        weight.mul_(self.labelled_x[rows, None])


def row_column_lse(x, k, valid_x, valid_k):
    """Log-sum-exp of each row and each column; see `operators.row_column_lse`."""
    n, m = len(x), len(k)
    if _scores_are_small(x, k):
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
    small = _scores_are_small(x, k)
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
    """Log-sum-exp over candidates, sum over positives; see `operators.row_lse`."""
    rule = Rule(label_x, label_k, valid_k, own)
    lse, positive = RunningLSE(len(x), x), x.new_zeros(len(x))
    for rows, keys, s in tiles(x, k):
        _add_positives(positive, rule, rows, keys, s)
        rule.exclude(rows, keys, s)
        lse.add(rows, s)
    return lse.value(), positive


def row_lse_backward(
    x, k, label_x, label_k, valid_k, own, lse, g_lse, g_positive, need_x, need_k
):  # fmt: skip
    """Gradients of `row_lse`."""
    rule, gradients = Rule(label_x, label_k, valid_k, own), Gradients(x, k, need_x, need_k)
    for rows, keys, s in tiles(x, k):
        rule.exclude(rows, keys, s)
        s.sub_(lse[rows, None]).exp_().mul_(g_lse[rows, None])
        _add_where_positive(s, rule, rows, keys, g_positive)
        gradients.add(rows, keys, s)
    return _without_rows(gradients, None, valid_k)


def top_lse(x, k, label_x, label_k, valid_k, own):
    """`row_lse` with the largest score apart; see `operators.top_lse`."""
    rule = Rule(label_x, label_k, valid_k, own)
    others, positive = RunningLSE(len(x), x), x.new_zeros(len(x))
    highest = x.new_full((len(x),), EXCLUDED)
    top = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for rows, keys, s in tiles(x, k):
        _add_positives(positive, rule, rows, keys, s)
        rule.exclude(rows, keys, s)
        high, place = s.max(dim=1, keepdim=True)
        s.scatter_(1, place, EXCLUDED)
        others.add(rows, s)
        high, place = high[:, 0], place[:, 0] + keys.start
        wins = high > highest[rows]
        others.add(rows, torch.minimum(high, highest[rows])[:, None].clone())
        highest[rows] = torch.maximum(high, highest[rows])
        top[rows] = torch.where(wins, place, top[rows])
    rest = others.value()
    return torch.logaddexp(rest, highest), rest, positive, highest, top


def top_lse_backward(
    x, k, label_x, label_k, valid_k, own, lse, others, top,
    g_lse, g_others, g_positive, need_x, need_k,
):  # fmt: skip
    """Gradients of `top_lse`."""
    rule, gradients = Rule(label_x, label_k, valid_k, own), Gradients(x, k, need_x, need_k)
    for rows, keys, s in tiles(x, k):
        rule.exclude(rows, keys, s)
        g = (s - lse[rows, None]).exp_().mul_(g_lse[rows, None])
        _leave_out(s, top[rows] - keys.start, EXCLUDED)
        g.addcmul_(s.sub_(others[rows, None]).exp_(), g_others[rows, None].expand_as(s))
        _add_where_positive(g, rule, rows, keys, g_positive)
        gradients.add(rows, keys, g)
    return _without_rows(gradients, None, valid_k)


def repel(x, k, label_x, label_k, valid_k, own, lse, top):
    """−log(1 − p) summed over negatives; see `operators.repel`."""
    rule = Rule(label_x, label_k, valid_k, own)
    total, weight = x.new_zeros(len(x)), x.new_zeros(len(x))
    for rows, keys, s in tiles(x, k):
        p = _negative_probability(s, rule, rows, keys, lse, top)
        weight[rows] += (p / (1 - p)).sum(dim=1)
        total[rows] -= p.neg_().log1p_().sum(dim=1)
    return total, weight


def repel_backward(
    x, k, label_x, label_k, valid_k, own, lse, top, g_repel, need_x, need_k
):  # fmt: skip
    """Gradients of `repel`."""
    rule, gradients = Rule(label_x, label_k, valid_k, own), Gradients(x, k, need_x, need_k)
    for rows, keys, s in tiles(x, k):
        p = _negative_probability(s, rule, rows, keys, lse, top)
        gradients.add(rows, keys, p.div_(1 - p).mul_(g_repel[rows, None]))
    return _without_rows(gradients, None, valid_k)


def softplus_sum(x, k, bias, valid_k, own):
    """Softplus summed over keys that are not the own; see `operators.softplus_sum`."""
    rule, total = Rule(None, None, valid_k, own), x.new_zeros(len(x))
    small = _scores_are_small(x, k, bias)
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


def _scores_are_small(x: Tensor, k: Tensor, bias: Tensor | None = None) -> bool:
    """Whether no |score| exceeds SAFE_SCORE; asked on the CPU alone, where it costs no waiting."""
    if x.device.type != "cpu" or not len(x) or not len(k):
        return False
    bound = x.square().sum(dim=1).amax().sqrt() * k.square().sum(dim=1).amax().sqrt()
    return bool(bound + (0 if bias is None else bias.abs()) <= SAFE_SCORE)


def _ones_or(valid: Tensor | None, like: Tensor) -> Float[Tensor, " n"]:
    return like.new_ones(len(like)) if valid is None else valid.to(like.dtype)


def _without_rows(gradients: Gradients, valid_x: Tensor | None, valid_k: Tensor | None):
    """The gradients with exact zeros in the rows that do not count."""
    dx, dk = gradients.get()
    if valid_x is not None and gradients.need_x:
        dx.masked_fill_(~valid_x[:, None], 0.0)
    if valid_k is not None and gradients.need_k:
        dk.masked_fill_(~valid_k[:, None], 0.0)
    return dx, dk


def _add_positives(total: Tensor, rule: Rule, rows: slice, keys: slice, s: Tensor) -> None:
    same = rule.positive(rows, keys, s)
    if same is not None:
        total[rows] += (s * same).sum(dim=1)


def _add_where_positive(
    g: Tensor, rule: Rule, rows: slice, keys: slice, g_positive: Tensor
) -> None:
    same = rule.positive(rows, keys, g)
    if same is not None:
        g.addcmul_(same.to(g.dtype), g_positive[rows, None].expand_as(g))


def _leave_out(s: Float[Tensor, "r c"], place: Int64[Tensor, " r"], value: float) -> None:
    """Write `value` at one place of each row, where that lies in the tile."""
    inside = (place >= 0) & (place < s.shape[1])
    at = place.clamp(0, s.shape[1] - 1)[:, None]
    s.scatter_(1, at, torch.where(inside[:, None], value, s.gather(1, at)))


def _leave_out_own(s: Tensor, rule: Rule, rows: slice, keys: slice) -> None:
    found = rule.diagonal(rows, keys, s)
    if found is not None:
        found[0].fill_(EXCLUDED)
    rule.exclude(rows, keys, s)


def _negative_probability(
    s: Tensor, rule: Rule, rows: slice, keys: slice, lse: Tensor, top: Tensor
) -> Float[Tensor, "r c"]:
    """p_ij of the negatives, 0 elsewhere and for each row's largest, which has its own formula."""
    rule.exclude(rows, keys, s)
    p = s.sub_(lse[rows, None]).exp_().clamp_(max=0.5)
    rule.keep_negatives(rows, keys, p)
    _leave_out(p, top[rows] - keys.start, 0.0)
    return p
