"""Log-sum-exp of each row and of each column, from one pass."""

# Annotations stay objects here: torch reads the schema of each operator from them.
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.kernels.autograd import (
    empty_gradients,
    empty_statistics,
    needed_gradients,
    no_second_derivative,
)
from xdistill.kernels.distributed import ALONE, Ranks
from xdistill.kernels.keys import Keys, Rows
from xdistill.kernels.passes.implementations import passes_of
from xdistill.kernels.passes.ring import full, go_round, ring_gradients
from xdistill.numerics import EXCLUDED


def row_column_lse(
    rows: Rows, keys: Keys, impl: str, ranks: Ranks = ALONE
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """The log-sum-exp of each row over the valid keys, of each key over the valid rows.

    In a ring the rows meet the keys of all processes; the columns are those of the own keys.
    """
    if ranks.ring:
        return Ring.apply(rows.x, keys.k, keys.valid, ranks, impl)  # pyright: ignore[reportReturnType]
    return operator(rows.x, keys.k, rows.keep, keys.valid, impl)


@torch.library.custom_op("xdistill::row_column_lse", mutates_args=())
def operator(
    x: Tensor, k: Tensor, valid_x: Tensor | None, valid_k: Tensor | None, impl: str
) -> tuple[Tensor, Tensor]:
    """(row [N], column [M]): log-sum-exp over the valid keys, and over the valid rows."""
    return passes_of(impl).row_column_lse(x, k, valid_x, valid_k)


@torch.library.custom_op("xdistill::row_column_lse_backward", mutates_args=())
def operator_backward(
    x: Tensor, k: Tensor, valid_x: Tensor | None, valid_k: Tensor | None,
    row: Tensor, column: Tensor, g_row: Tensor, g_column: Tensor,
    need_x: bool, need_k: bool, impl: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradients in x and k; one that is not needed is empty."""
    return passes_of(impl).row_column_lse_backward(
        x, k, valid_x, valid_k, row, column, g_row, g_column, need_x, need_k
    )


@operator.register_fake
def _(x, k, valid_x, valid_k, impl):
    return *empty_statistics(x, 1), *empty_statistics(k, 1)


@operator_backward.register_fake
def _(x, k, valid_x, valid_k, row, column, g_row, g_column, need_x, need_k, impl):
    return empty_gradients(x, k, need_x, need_k)


def _save(ctx, inputs, output):
    *tensors, ctx.impl = inputs
    ctx.save_for_backward(*tensors, *output)


def _gradient(ctx, g_row, g_column):
    x, k, valid_x, valid_k, row, column = ctx.saved_tensors
    gradients = operator_backward(
        x, k, valid_x, valid_k, row, column, g_row, g_column, *ctx.needs_input_grad[:2], ctx.impl
    )
    return *needed_gradients(gradients, ctx, x, k), None, None, None


operator.register_autograd(_gradient, setup_context=_save)
operator_backward.register_autograd(no_second_derivative)


class Ring(torch.autograd.Function):
    """The same over the keys of all processes; log-sum-exps of columns travel with their keys."""

    @staticmethod
    def forward(ctx: Any, x, k, valid, ranks, impl):
        row = full(x, EXCLUDED)

        def visit(block, owner):
            keys, valid_k, column = block
            of_rows, of_keys = operator(x, keys, valid, valid_k, impl)
            row.copy_(torch.logaddexp(row, of_rows))
            block[2] = torch.logaddexp(column, of_keys)

        column = go_round([k, valid, full(k, EXCLUDED)], ranks, visit)[2]
        ctx.save_for_backward(x, k, valid, row, column)
        ctx.ranks, ctx.impl = ranks, impl
        return row, column

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, valid, row, column = ctx.saved_tensors
        g_row, g_column = grads

        def of_block(block, owner):
            keys, valid_k, of_keys, g_keys = block
            return operator_backward(
                x, keys, valid, valid_k, row, of_keys, g_row, g_keys, True, True, ctx.impl
            )

        gradients = ring_gradients(x, [k, valid, column, g_column], ctx.ranks, of_block)
        return *gradients, None, None, None
