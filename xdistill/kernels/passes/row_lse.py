"""Log-sum-exp of each row over its candidates, and the sum of its scores over its positives."""

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
from xdistill.kernels.passes.ring import full, go_round, own_of, ring_gradients
from xdistill.numerics import EXCLUDED


def row_lse(
    rows: Rows, keys: Keys, impl: str, ranks: Ranks = ALONE
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """(log-sum-exp over the candidates, sum of the scores of the positives) of each row."""
    inputs = rows.x, keys.k, rows.label, keys.label, keys.valid, keys.own
    if ranks.ring:
        return Ring.apply(*inputs, ranks, impl)  # pyright: ignore[reportReturnType]
    return operator(*inputs, impl)


@torch.library.custom_op("xdistill::row_lse", mutates_args=())
def operator(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None, impl: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(lse [N] over the candidates, sum [N] of the scores of the positives)."""
    return passes_of(impl).row_lse(x, k, label_x, label_k, valid_k, own)


@torch.library.custom_op("xdistill::row_lse_backward", mutates_args=())
def operator_backward(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None,
    lse: Tensor, g_lse: Tensor, g_positive: Tensor, need_x: bool, need_k: bool, impl: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradients in x and k; one that is not needed is empty."""
    return passes_of(impl).row_lse_backward(
        x, k, label_x, label_k, valid_k, own, lse, g_lse, g_positive, need_x, need_k
    )


@operator.register_fake
def _(x, k, label_x, label_k, valid_k, own, impl):
    return empty_statistics(x, 2)


@operator_backward.register_fake
def _(x, k, label_x, label_k, valid_k, own, lse, g_lse, g_positive, need_x, need_k, impl):
    return empty_gradients(x, k, need_x, need_k)


def _save(ctx, inputs, output):
    *tensors, ctx.own, ctx.impl = inputs
    ctx.save_for_backward(*tensors, output[0])


def _gradient(ctx, g_lse, g_positive):
    x, k, label_x, label_k, valid_k, lse = ctx.saved_tensors
    gradients = operator_backward(
        x, k, label_x, label_k, valid_k, ctx.own, lse, g_lse, g_positive,
        *ctx.needs_input_grad[:2], ctx.impl,
    )  # fmt: skip
    return *needed_gradients(gradients, ctx, x, k), None, None, None, None, None


operator.register_autograd(_gradient, setup_context=_save)
operator_backward.register_autograd(no_second_derivative)


class Ring(torch.autograd.Function):
    """The same over the keys of all processes."""

    @staticmethod
    def forward(ctx: Any, x, k, label_x, label_k, valid_k, own, ranks, impl):
        lse, positive = full(x, EXCLUDED), full(x)

        def visit(block, owner):
            keys, labels, valid = block
            own_here = own_of(own, owner, ranks)
            of_block, sums = operator(x, keys, label_x, labels, valid, own_here, impl)
            lse.copy_(torch.logaddexp(lse, of_block))
            positive.add_(sums)

        go_round([k, label_k, valid_k], ranks, visit)
        ctx.save_for_backward(x, k, label_x, label_k, valid_k, lse)
        ctx.own, ctx.ranks, ctx.impl = own, ranks, impl
        return lse, positive

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, label_x, label_k, valid_k, lse = ctx.saved_tensors

        def of_block(block, owner):
            keys, labels, valid = block
            own = own_of(ctx.own, owner, ctx.ranks)
            return operator_backward(
                x, keys, label_x, labels, valid, own, lse, *grads, True, True, ctx.impl
            )

        return *ring_gradients(x, [k, label_k, valid_k], ctx.ranks, of_block), *[None] * 6
