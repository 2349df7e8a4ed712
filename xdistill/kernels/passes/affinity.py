"""The passes of `affinity_kl` as PyTorch operators; what all operators share is in `operators`.

Candidates of row i are the valid keys but its own, j = i + own, which is the diagonal where rows
meet themselves; own=None keeps all. The teacher's rows tx and keys tk are constants.
"""

# Annotations stay objects here: torch reads the schema of each operator from them.
import torch
from torch import Tensor

from xdistill.kernels.dispatch import tiles_of
from xdistill.kernels.passes.operators import (
    Three,
    Two,
    gradients_like,
    no_second_derivative,
    rows_like,
    wanted,
)

# --- affinity_stats: two softmaxes and the gap between them, over all candidates ---


@torch.library.custom_op("xdistill::affinity_stats", mutates_args=())
def affinity_stats(
    x: Tensor, k: Tensor, tx: Tensor, tk: Tensor,
    valid_k: Tensor | None, own: int | None, impl: str,
) -> Three:  # fmt: skip
    """(lse, target_lse, cross), each [N], of s_ij = x_i · k_j and t_ij = tx_i · tk_j.

    lse and target_lse are the log-sum-exps of s and t over the candidates, cross the mean of t − s
    under softmax(t): the divergence of the row is cross − target_lse + lse. Without candidates they
    are EXCLUDED, EXCLUDED and 0.
    """
    return tiles_of(impl, "affinity").affinity_stats(x, k, tx, tk, valid_k, own)


@torch.library.custom_op("xdistill::affinity_stats_backward", mutates_args=())
def affinity_stats_backward(
    x: Tensor, k: Tensor, tx: Tensor, tk: Tensor,
    valid_k: Tensor | None, own: int | None, lse: Tensor, target_lse: Tensor,
    g_lse: Tensor, g_cross: Tensor, need_x: bool, need_k: bool, impl: str,
) -> Two:  # fmt: skip
    """The gradients of `affinity_stats` in x and k; an empty one where none is needed."""
    return tiles_of(impl, "affinity").affinity_stats_backward(
        x, k, tx, tk, valid_k, own, lse, target_lse, g_lse, g_cross, need_x, need_k
    )


@affinity_stats.register_fake
def _(x, k, tx, tk, valid_k, own, impl):
    return rows_like(x, 3)


@affinity_stats_backward.register_fake
def _(x, k, tx, tk, valid_k, own, lse, target_lse, g_lse, g_cross, need_x, need_k, impl):
    return gradients_like(x, k, need_x, need_k)


def _save_stats(ctx, inputs, output):
    *tensors, ctx.own, ctx.impl = inputs
    ctx.save_for_backward(*tensors, *output[:2])


def _stats_gradient(ctx, g_lse, g_target, g_cross):
    x, k, tx, tk, valid_k, lse, target_lse = ctx.saved_tensors
    gradients = affinity_stats_backward(
        x, k, tx, tk, valid_k, ctx.own, lse, target_lse, g_lse, g_cross,
        *ctx.needs_input_grad[:2], ctx.impl,
    )  # fmt: skip
    return *wanted(gradients, ctx, x, k), None, None, None, None, None


affinity_stats.register_autograd(_stats_gradient, setup_context=_save_stats)
affinity_stats_backward.register_autograd(no_second_derivative)


# --- nearest_keys and edge_scores: a few candidates of each row. PyTorch alone has these passes ---


@torch.library.custom_op("xdistill::nearest_keys", mutates_args=())
def nearest_keys(
    tx: Tensor, tk: Tensor, valid_k: Tensor | None, own: int | None, count: int
) -> Two:
    """(place, found), each [N, count]: positions of the candidates with the highest scores.

    Where there are fewer candidates, `found` is False and `place` any position. `count` is at most
    the number of keys.
    """
    return tiles_of("tiled", "affinity").nearest_keys(tx, tk, valid_k, own, count)


@nearest_keys.register_fake
def _(tx, tk, valid_k, own, count):
    place = tx.new_empty((len(tx), count), dtype=torch.int64)
    return place, torch.empty_like(place, dtype=torch.bool)


@torch.library.custom_op("xdistill::edge_scores", mutates_args=())
def edge_scores(x: Tensor, k: Tensor, place: Tensor) -> Tensor:
    """x_i · k_j [N, C] for the keys j = place[i, :], place int64 [N, C]."""
    return tiles_of("tiled", "affinity").edge_scores(x, k, place)


@torch.library.custom_op("xdistill::edge_scores_backward", mutates_args=())
def edge_scores_backward(
    x: Tensor, k: Tensor, place: Tensor, g_scores: Tensor, need_x: bool, need_k: bool
) -> Two:
    """The gradients of `edge_scores` in x and k; an empty one where none is needed."""
    passes = tiles_of("tiled", "affinity")
    return passes.edge_scores_backward(x, k, place, g_scores, need_x, need_k)


@edge_scores.register_fake
def _(x, k, place):
    return x.new_empty(place.shape)


@edge_scores_backward.register_fake
def _(x, k, place, g_scores, need_x, need_k):
    return gradients_like(x, k, need_x, need_k)


def _save_edges(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _edge_gradient(ctx, g_scores):
    x, k, place = ctx.saved_tensors
    gradients = edge_scores_backward(x, k, place, g_scores, *ctx.needs_input_grad[:2])
    return *wanted(gradients, ctx, x, k), None


edge_scores.register_autograd(_edge_gradient, setup_context=_save_edges)
edge_scores_backward.register_autograd(no_second_derivative)
