"""Row statistics of two matrices of similarities at once, the student's and the teacher's.

As in `tiled.passes`, neither matrix is ever built, and the backward pass computes the tiles again.
Where a row has a few neighbours only, these are found tile by tile, and their scores are computed
from gathered keys, a chunk of rows at a time. What a function returns is described in
`passes.affinity_stats` and `passes.neighbours`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from xdistill.kernels.tiled.labels import Rule
from xdistill.kernels.tiled.passes import Gradients, RunningLSE, scores_are_small, tiles
from xdistill.numerics import EXCLUDED

GATHERED = 2**20
"""The most numbers of a chunk of gathered keys."""


def affinity_stats(x, k, tx, tk, valid_k, own):
    """Softmax statistics of student and teacher."""
    if scores_are_small(x, k) and scores_are_small(tx, tk):
        return _stats_of_small_scores(x, k, tx, tk, valid_k, own)
    student, teacher = RunningLSE(len(x), x), RunningLSE(len(x), x)
    gap = x.new_zeros(len(x))  # Σ e^(t − highest) (t − s), as the teacher's running sum
    for rows, _, s, t, difference in _pairs_of_tiles(x, k, tx, tk, valid_k, own):
        torch.sub(t, s, out=difference)  # 0 for what is left out
        student.add(rows, s)
        before = teacher.high[rows].clone()
        teacher.add(rows, t)  # t is now e^(t − highest)
        gap[rows] *= (before - teacher.high[rows]).exp_()
        gap[rows] += difference.mul_(t).sum(dim=1)
    cross = torch.where(teacher.total > 0, gap / teacher.total, 0.0)
    return student.value(), teacher.value(), cross


def _stats_of_small_scores(x, k, tx, tk, valid_k, own):
    """`affinity_stats` without a running maximum."""
    total_s, total_t, gap = (x.new_zeros(len(x)) for _ in range(3))
    for rows, _, s, t, difference in _pairs_of_tiles(x, k, tx, tk, valid_k, own):
        torch.sub(t, s, out=difference)
        total_s[rows] += s.exp_().sum(dim=1)
        total_t[rows] += t.exp_().sum(dim=1)
        gap[rows] += difference.mul_(t).sum(dim=1)
    empty = total_t == 0
    lse, target_lse = (total.log().masked_fill_(empty, EXCLUDED) for total in (total_s, total_t))
    return lse, target_lse, (gap / total_t).masked_fill_(empty, 0.0)


def affinity_stats_backward(
    x, k, tx, tk, valid_k, own, lse, target_lse, g_lse, g_cross, need_x, need_k
):  # fmt: skip
    """Gradients of `affinity_stats` in x and k; the teacher is a constant."""
    gradients = Gradients(x, k, need_x, need_k)
    # A row without candidates gets probabilities of 0.
    lse, target_lse = (
        torch.where(total > EXCLUDED / 2, total, -EXCLUDED) for total in (lse, target_lse)
    )
    for rows, keys, s, t, _ in _pairs_of_tiles(x, k, tx, tk, valid_k, own):
        g = s.sub_(lse[rows, None]).exp_().mul_(g_lse[rows, None])
        t.sub_(target_lse[rows, None]).exp_()
        g.addcmul_(t, g_cross[rows, None].expand_as(t), value=-1)
        gradients.add(rows, keys, g)
    return gradients.get()


def nearest_keys(tx, tk, valid_k, own, count):
    """The `count` candidates of each row with the teacher's highest scores."""
    rule = Rule(None, None, valid_k, own)
    score = tx.new_full((len(tx), count), EXCLUDED)
    place = torch.zeros((len(tx), count), dtype=torch.int64, device=tx.device)
    for rows, keys, t in tiles(tx, tk):
        _exclude(rule, rows, keys, t)
        best, at = t.topk(min(count, t.shape[1]), dim=1)
        candidates = torch.cat([score[rows], best], dim=1)
        score[rows], chosen = candidates.topk(count, dim=1)
        place[rows] = torch.cat([place[rows], at + keys.start], dim=1).gather(1, chosen)
    return place, score > EXCLUDED


def edge_scores(x, k, place):
    """Scores of a few keys of each row."""
    scores = x.new_empty(place.shape)
    for rows in _chunks(x, place):
        torch.bmm(k[place[rows]], x[rows, :, None], out=scores[rows, :, None])
    return scores


def edge_scores_backward(x, k, place, g_scores, need_x, need_k):
    """Gradients of `edge_scores`."""
    gradients = Gradients(x, k, need_x, need_k)
    for rows in _chunks(x, place):
        g = g_scores[rows]  # [R, C]
        if need_x:
            torch.bmm(g[:, None, :], k[place[rows]], out=gradients.dx[rows, None, :])
        if need_k:
            to_keys = (g[:, :, None] * x[rows, None, :]).flatten(0, 1)
            _add_at(gradients.dk, place[rows].flatten(), to_keys)
    return gradients.get()


def _add_at(
    total: Float[Tensor, "m d"], place: Int64[Tensor, " e"], values: Float[Tensor, "e d"]
) -> None:
    """Add each value to the row at its place, in the same order in every run.

    On a GPU index_put_ sorts and index_add_ adds atomically, on a CPU index_add_ keeps the order.
    """
    if total.is_cuda:
        total.index_put_((place,), values, accumulate=True)
    else:
        total.index_add_(0, place, values)


def _chunks(x: Float[Tensor, "n d"], place: Int64[Tensor, "n c"]) -> Iterator[slice]:
    """Chunks of rows whose gathered keys have at most GATHERED numbers; at least one row each."""
    height = max(1, GATHERED // max(1, place.shape[1] * x.shape[1]))
    for start in range(0, len(x), height):
        yield slice(start, min(start + height, len(x)))


def _pairs_of_tiles(
    x, k, tx, tk, valid_k, own
) -> Iterator[
    tuple[slice, slice, Float[Tensor, "r c"], Float[Tensor, "r c"], Float[Tensor, "r c"]]
]:
    """Yield each tile of both matrices, EXCLUDED where a key is no candidate, and a third buffer.

    The next tile overwrites all three.
    """
    rule = Rule(None, None, valid_k, own)
    room = x.new_empty(0)
    for (rows, keys, s), (_, _, t) in zip(tiles(x, k), tiles(tx, tk), strict=True):
        if room.numel() < s.numel():  # the first tile is the largest
            room = torch.empty_like(s)
        _exclude(rule, rows, keys, s)
        _exclude(rule, rows, keys, t)
        yield rows, keys, s, t, room.view(-1)[: s.numel()].view(s.shape)


def _exclude(rule: Rule, rows: slice, keys: slice, tile: Float[Tensor, "r c"]) -> None:
    found = rule.diagonal(rows, keys, tile)
    if found is not None:
        found[0].fill_(EXCLUDED)
    rule.exclude(rows, keys, tile)
