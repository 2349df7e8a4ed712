"""Softplus of each row's scores, summed over the keys that are not its own."""

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


def softplus_sum(
    rows: Rows, keys: Keys, bias: Float[Tensor, ""], impl: str, ranks: Ranks = ALONE
) -> Float[Tensor, " n"]:
    """Σ_j softplus(s_ij + bias) over the keys that are not row i's own."""
    inputs = rows.x, keys.k, bias, keys.valid, keys.own
    if ranks.ring:
        return Ring.apply(*inputs, ranks, impl)  # pyright: ignore[reportReturnType]
    return operator(*inputs, impl)


@torch.library.custom_op("xdistill::softplus_sum", mutates_args=())
def operator(
    x: Tensor, k: Tensor, bias: Tensor, valid_k: Tensor | None, own: int | None, impl: str
) -> Tensor:
    """Σ_j softplus(s_ij + bias) [N] over the keys that are not the row's own. `bias` is 0-d."""
    return passes_of(impl).softplus_sum(x, k, bias, valid_k, own)


@torch.library.custom_op("xdistill::softplus_sum_backward", mutates_args=())
def operator_backward(
    x: Tensor, k: Tensor, bias: Tensor, valid_k: Tensor | None, own: int | None,
    g_sum: Tensor, need_x: bool, need_k: bool, impl: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients in x, k and bias; one of x or k that is not needed is empty."""
    return passes_of(impl).softplus_sum_backward(x, k, bias, valid_k, own, g_sum, need_x, need_k)


@operator.register_fake
def _(x, k, bias, valid_k, own, impl):
    return empty_statistics(x, 1)[0]


@operator_backward.register_fake
def _(x, k, bias, valid_k, own, g_sum, need_x, need_k, impl):
    return *empty_gradients(x, k, need_x, need_k), torch.empty_like(bias)


def _save(ctx, inputs, output):
    *tensors, ctx.own, ctx.impl = inputs
    ctx.save_for_backward(*tensors)


def _gradient(ctx, g_sum):
    x, k, bias, valid_k = ctx.saved_tensors
    dx, dk, dbias = operator_backward(
        x, k, bias, valid_k, ctx.own, g_sum, *ctx.needs_input_grad[:2], ctx.impl
    )
    return *needed_gradients((dx, dk), ctx, x, k), dbias, None, None, None


operator.register_autograd(_gradient, setup_context=_save)
operator_backward.register_autograd(no_second_derivative)


class Ring(torch.autograd.Function):
    """The same over the keys of all processes."""

    @staticmethod
    def forward(ctx: Any, x, k, bias, valid_k, own, ranks, impl):
        total = full(x)

        def visit(block, owner):
            keys, valid = block
            total.add_(operator(x, keys, bias, valid, own_of(own, owner, ranks), impl))

        go_round([k, valid_k], ranks, visit)
        ctx.save_for_backward(x, k, bias, valid_k)
        ctx.own, ctx.ranks, ctx.impl = own, ranks, impl
        return total

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, bias, valid_k = ctx.saved_tensors
        (g_sum,) = grads
        dbias = torch.zeros_like(bias)

        def of_block(block, owner):
            keys, valid = block
            own = own_of(ctx.own, owner, ctx.ranks)
            dx, dk, slope = operator_backward(
                x, keys, bias, valid, own, g_sum, True, True, ctx.impl
            )
            dbias.add_(slope)
            return dx, dk

        dx, dk = ring_gradients(x, [k, valid_k], ctx.ranks, of_block)
        return dx, dk, dbias, None, None, None, None
