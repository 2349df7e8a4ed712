"""A few keys of each row: which are nearest for the teacher, and the scores of those alone.

Only the tiled implementation has these passes, on every device; and all keys must be at hand.
"""

# Annotations stay objects here: torch reads the schema of each operator from them.
import torch
from torch import Tensor

from xdistill.kernels.autograd import empty_gradients, needed_gradients, no_second_derivative
from xdistill.kernels.tiled import affinity as tiled


@torch.library.custom_op("xdistill::nearest_keys", mutates_args=())
def nearest_keys(
    tx: Tensor, tk: Tensor, valid_k: Tensor | None, own: int | None, count: int
) -> tuple[Tensor, Tensor]:
    """(place, found), each [N, count]: positions of the candidates with the highest scores.

    tx is [N, E] and tk [M, E]; candidates are the valid keys but the row's own. Where there are
    fewer of them, `found` is False and `place` any position. `count` is at most M.
    """
    return tiled.nearest_keys(tx, tk, valid_k, own, count)


@nearest_keys.register_fake
def _(tx, tk, valid_k, own, count):
    place = tx.new_empty((len(tx), count), dtype=torch.int64)
    return place, torch.empty_like(place, dtype=torch.bool)


@torch.library.custom_op("xdistill::edge_scores", mutates_args=())
def edge_scores(x: Tensor, k: Tensor, place: Tensor) -> Tensor:
    """x_i · k_j [N, C] for the keys j = place[i, :], place int64 [N, C]."""
    return tiled.edge_scores(x, k, place)


@torch.library.custom_op("xdistill::edge_scores_backward", mutates_args=())
def edge_scores_backward(
    x: Tensor, k: Tensor, place: Tensor, g_scores: Tensor, need_x: bool, need_k: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of `edge_scores` in x and k; one that is not needed is empty."""
    return tiled.edge_scores_backward(x, k, place, g_scores, need_x, need_k)


@edge_scores.register_fake
def _(x, k, place):
    return x.new_empty(place.shape)


@edge_scores_backward.register_fake
def _(x, k, place, g_scores, need_x, need_k):
    return empty_gradients(x, k, need_x, need_k)


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _gradient(ctx, g_scores):
    x, k, place = ctx.saved_tensors
    gradients = edge_scores_backward(x, k, place, g_scores, *ctx.needs_input_grad[:2])
    return *needed_gradients(gradients, ctx, x, k), None


edge_scores.register_autograd(_gradient, setup_context=_save)
edge_scores_backward.register_autograd(no_second_derivative)
