"""The tile passes as PyTorch operators: differentiable, traceable, one per kind of statistics.

Rows x [N, D] already carry the scale; s_ij = x_i · k_j for keys k [M, D]. `impl` is "tiled" or
"triton". Key j is row i's own pair when j = i + own; with own=None there are no pairs. Labels are
-1 where unknown. Of the keys with `valid_k` those are

- candidates: all for a row without a label, and for one with a label its own key and all that are
  labelled;
- positives: the own key and those of the row's label;
- negatives: those of another label, the own key apart.

Without labels all are candidates, the own key is positive, all others are negative. A row without
candidates has the log-sum-exp `EXCLUDED`. The gradient of a gradient is an error: it would need
the dense matrix, which impl="reference" has.
"""

# Annotations stay objects here: torch reads the schema of each operator from them, and looks up the
# names of string annotations where a wrapped function does not have them.
from typing import Any

import torch
from torch import Tensor

from xdistill.kernels.dispatch import tiles_of

Two = tuple[Tensor, Tensor]
Three = tuple[Tensor, Tensor, Tensor]
Five = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def no_second_derivative(ctx: Any, *grads: Any) -> Any:
    """The autograd formula of every backward operator."""
    raise RuntimeError(
        "a fused contrastive kernel has no second derivative: its backward pass recomputes the "
        'scores and keeps none; use impl="reference" where a gradient is differentiated again'
    )


def gradients_like(x: Tensor, k: Tensor, need_x: bool, need_k: bool) -> Two:
    """Empty dx and dk, of float32 or wider, without rows where not needed."""
    wide = torch.promote_types(x.dtype, torch.float32)
    dx = x.new_empty(x.shape if need_x else (0, x.shape[1]), dtype=wide)
    return dx, k.new_empty(k.shape if need_k else (0, k.shape[1]), dtype=wide)


def rows_like(x: Tensor, count: int) -> tuple[Tensor, ...]:
    """So many empty statistics of the rows of x, of float32 or wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return tuple(x.new_empty(len(x), dtype=wide) for _ in range(count))


def wanted(gradients: tuple[Tensor, Tensor], ctx: Any, x: Tensor, k: Tensor) -> tuple[Any, Any]:
    """dx and dk in the types of their tensors; None where none was asked for."""
    dx, dk = gradients
    need_x, need_k = ctx.needs_input_grad[:2]
    return dx.to(x.dtype) if need_x else None, dk.to(k.dtype) if need_k else None


# --- row_column_lse: log-sum-exp of each row and of each column, from one pass ---


@torch.library.custom_op("xdistill::row_column_lse", mutates_args=())
def row_column_lse(
    x: Tensor, k: Tensor, valid_x: Tensor | None, valid_k: Tensor | None, impl: str
) -> Two:
    """(row [N], column [M]): logsumexp over the keys, and over the rows, that are valid."""
    return tiles_of(impl).row_column_lse(x, k, valid_x, valid_k)


@torch.library.custom_op("xdistill::row_column_lse_backward", mutates_args=())
def row_column_lse_backward(
    x: Tensor, k: Tensor, valid_x: Tensor | None, valid_k: Tensor | None,
    row: Tensor, column: Tensor, g_row: Tensor, g_column: Tensor,
    need_x: bool, need_k: bool, impl: str,
) -> Two:  # fmt: skip
    """The gradients of `row_column_lse` in x and k; an empty one where none is needed."""
    return tiles_of(impl).row_column_lse_backward(
        x, k, valid_x, valid_k, row, column, g_row, g_column, need_x, need_k
    )


@row_column_lse.register_fake
def _(x, k, valid_x, valid_k, impl):
    return *rows_like(x, 1), *rows_like(k, 1)


@row_column_lse_backward.register_fake
def _(x, k, valid_x, valid_k, row, column, g_row, g_column, need_x, need_k, impl):
    return gradients_like(x, k, need_x, need_k)


def _save_row_column(ctx, inputs, output):
    *tensors, ctx.impl = inputs
    ctx.save_for_backward(*tensors, *output)


def _row_column_gradient(ctx, g_row, g_column):
    x, k, valid_x, valid_k, row, column = ctx.saved_tensors
    gradients = row_column_lse_backward(
        x, k, valid_x, valid_k, row, column, g_row, g_column, *ctx.needs_input_grad[:2], ctx.impl
    )
    return *wanted(gradients, ctx, x, k), None, None, None


row_column_lse.register_autograd(_row_column_gradient, setup_context=_save_row_column)
row_column_lse_backward.register_autograd(no_second_derivative)


# --- row_lse: log-sum-exp over the candidates, sum over the positives ---


@torch.library.custom_op("xdistill::row_lse", mutates_args=())
def row_lse(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None, impl: str,
) -> Two:  # fmt: skip
    """(lse [N] over the candidates, sum [N] of the scores of the positives)."""
    return tiles_of(impl).row_lse(x, k, label_x, label_k, valid_k, own)


@torch.library.custom_op("xdistill::row_lse_backward", mutates_args=())
def row_lse_backward(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None,
    lse: Tensor, g_lse: Tensor, g_positive: Tensor, need_x: bool, need_k: bool, impl: str,
) -> Two:  # fmt: skip
    """The gradients of `row_lse` in x and k; an empty one where none is needed."""
    return tiles_of(impl).row_lse_backward(
        x, k, label_x, label_k, valid_k, own, lse, g_lse, g_positive, need_x, need_k
    )


@row_lse.register_fake
def _(x, k, label_x, label_k, valid_k, own, impl):
    return rows_like(x, 2)


@row_lse_backward.register_fake
def _(x, k, label_x, label_k, valid_k, own, lse, g_lse, g_positive, need_x, need_k, impl):
    return gradients_like(x, k, need_x, need_k)


def _save_rows(ctx, inputs, output):
    *tensors, ctx.own, ctx.impl = inputs
    ctx.save_for_backward(*tensors, output[0])


def _row_gradient(ctx, g_lse, g_positive):
    x, k, label_x, label_k, valid_k, lse = ctx.saved_tensors
    gradients = row_lse_backward(
        x, k, label_x, label_k, valid_k, ctx.own, lse, g_lse, g_positive,
        *ctx.needs_input_grad[:2], ctx.impl,
    )  # fmt: skip
    return *wanted(gradients, ctx, x, k), None, None, None, None, None


row_lse.register_autograd(_row_gradient, setup_context=_save_rows)
row_lse_backward.register_autograd(no_second_derivative)


# --- top_lse: row_lse, and the largest score apart from the others ---


@torch.library.custom_op("xdistill::top_lse", mutates_args=())
def top_lse(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None, impl: str,
) -> Five:  # fmt: skip
    """(lse, others, positive, highest, top), each [N].

    `others` is the log-sum-exp over all candidates but the one of the `highest` score, whose
    position among the keys is `top` (0 where there is none). The last two are constants.
    """
    return tiles_of(impl).top_lse(x, k, label_x, label_k, valid_k, own)


@torch.library.custom_op("xdistill::top_lse_backward", mutates_args=())
def top_lse_backward(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None, lse: Tensor, others: Tensor, top: Tensor,
    g_lse: Tensor, g_others: Tensor, g_positive: Tensor, need_x: bool, need_k: bool, impl: str,
) -> Two:  # fmt: skip
    """The gradients of `top_lse` in x and k; an empty one where none is needed."""
    return tiles_of(impl).top_lse_backward(
        x, k, label_x, label_k, valid_k, own, lse, others, top,
        g_lse, g_others, g_positive, need_x, need_k,
    )  # fmt: skip


@top_lse.register_fake
def _(x, k, label_x, label_k, valid_k, own, impl):
    return *rows_like(x, 4), x.new_empty(len(x), dtype=torch.int64)


@top_lse_backward.register_fake
def _(
    x, k, label_x, label_k, valid_k, own, lse, others, top,
    g_lse, g_others, g_positive, need_x, need_k, impl,
):  # fmt: skip
    return gradients_like(x, k, need_x, need_k)


def _save_top(ctx, inputs, output):
    *tensors, ctx.own, ctx.impl = inputs
    lse, others, _, _, top = output
    ctx.save_for_backward(*tensors, lse, others, top)


def _top_gradient(ctx, g_lse, g_others, g_positive, g_highest, g_top):
    x, k, label_x, label_k, valid_k, lse, others, top = ctx.saved_tensors
    gradients = top_lse_backward(
        x, k, label_x, label_k, valid_k, ctx.own, lse, others, top,
        g_lse, g_others, g_positive, *ctx.needs_input_grad[:2], ctx.impl,
    )  # fmt: skip
    return *wanted(gradients, ctx, x, k), None, None, None, None, None


top_lse.register_autograd(_top_gradient, setup_context=_save_top)
top_lse_backward.register_autograd(no_second_derivative)


# --- repel: −log(1 − p) of the negatives ---


@torch.library.custom_op("xdistill::repel", mutates_args=())
def repel(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None, lse: Tensor, top: Tensor, impl: str,
) -> Two:  # fmt: skip
    """(Σ −log(1 − p_ij), Σ p_ij/(1 − p_ij)), each [N], over the negatives except key `top` [N].

    p_ij = e^(s_ij − lse_i). Without the largest score of a row none exceeds ½. The second sum is
    the slope in lse and is not differentiable.
    """
    return tiles_of(impl).repel(x, k, label_x, label_k, valid_k, own, lse, top)


@torch.library.custom_op("xdistill::repel_backward", mutates_args=())
def repel_backward(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None, lse: Tensor, top: Tensor,
    g_repel: Tensor, need_x: bool, need_k: bool, impl: str,
) -> Two:  # fmt: skip
    """The gradients of `repel` in x and k; an empty one where none is needed."""
    return tiles_of(impl).repel_backward(
        x, k, label_x, label_k, valid_k, own, lse, top, g_repel, need_x, need_k
    )


@repel.register_fake
def _(x, k, label_x, label_k, valid_k, own, lse, top, impl):
    return rows_like(x, 2)


@repel_backward.register_fake
def _(x, k, label_x, label_k, valid_k, own, lse, top, g_repel, need_x, need_k, impl):
    return gradients_like(x, k, need_x, need_k)


def _save_repel(ctx, inputs, output):
    x, k, label_x, label_k, valid_k, ctx.own, lse, top, ctx.impl = inputs
    ctx.save_for_backward(x, k, label_x, label_k, valid_k, lse, top, output[1])


def _repel_gradient(ctx, g_repel, g_weight):
    x, k, label_x, label_k, valid_k, lse, top, weight = ctx.saved_tensors
    gradients = repel_backward(
        x, k, label_x, label_k, valid_k, ctx.own, lse, top,
        g_repel, *ctx.needs_input_grad[:2], ctx.impl,
    )  # fmt: skip
    return *wanted(gradients, ctx, x, k), None, None, None, None, -g_repel * weight, None, None


repel.register_autograd(_repel_gradient, setup_context=_save_repel)
repel_backward.register_autograd(no_second_derivative)


# --- softplus_sum: the negatives of a pairwise sigmoid ---


@torch.library.custom_op("xdistill::softplus_sum", mutates_args=())
def softplus_sum(
    x: Tensor, k: Tensor, bias: Tensor, valid_k: Tensor | None, own: int | None, impl: str
) -> Tensor:
    """Σ_j softplus(s_ij + bias) [N] over the keys that are not the row's own. `bias` is 0-d."""
    return tiles_of(impl).softplus_sum(x, k, bias, valid_k, own)


@torch.library.custom_op("xdistill::softplus_sum_backward", mutates_args=())
def softplus_sum_backward(
    x: Tensor, k: Tensor, bias: Tensor, valid_k: Tensor | None, own: int | None,
    g_sum: Tensor, need_x: bool, need_k: bool, impl: str,
) -> Three:  # fmt: skip
    """The gradients of `softplus_sum` in x, k and bias; an empty one where none is needed."""
    return tiles_of(impl).softplus_sum_backward(x, k, bias, valid_k, own, g_sum, need_x, need_k)


@softplus_sum.register_fake
def _(x, k, bias, valid_k, own, impl):
    return rows_like(x, 1)[0]


@softplus_sum_backward.register_fake
def _(x, k, bias, valid_k, own, g_sum, need_x, need_k, impl):
    return *gradients_like(x, k, need_x, need_k), torch.empty_like(bias)


def _save_softplus(ctx, inputs, output):
    *tensors, ctx.own, ctx.impl = inputs
    ctx.save_for_backward(*tensors)


def _softplus_gradient(ctx, g_sum):
    x, k, bias, valid_k = ctx.saved_tensors
    dx, dk, dbias = softplus_sum_backward(
        x, k, bias, valid_k, ctx.own, g_sum, *ctx.needs_input_grad[:2], ctx.impl
    )
    return *wanted((dx, dk), ctx, x, k), dbias, None, None, None


softplus_sum.register_autograd(_softplus_gradient, setup_context=_save_softplus)
softplus_sum_backward.register_autograd(no_second_derivative)
