"""−log(1 − p) of each row, summed over its negatives."""

# Annotations stay objects here: torch reads the schema of each operator from them.
from typing import Any

import torch
from jaxtyping import Float, Int64
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
from xdistill.kernels.passes.ring import full, go_round, own_of, place_in_block, ring_gradients


def repel(
    rows: Rows,
    keys: Keys,
    lse: Float[Tensor, " n"],
    top: Int64[Tensor, " n"],
    impl: str,
    ranks: Ranks = ALONE,
) -> Float[Tensor, " n"]:
    """Σ −log(1 − p_ij) over the negatives of row i except key `top`, both as `top_lse` gives them.

    p_ij = e^(s_ij − lse_i).
    """
    inputs = rows.x, keys.k, rows.label, keys.label, keys.valid, keys.own, lse, top
    if ranks.ring:
        return Ring.apply(*inputs, ranks, impl)  # pyright: ignore[reportReturnType]
    return operator(*inputs, impl)[0]


@torch.library.custom_op("xdistill::repel", mutates_args=())
def operator(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None, lse: Tensor, top: Tensor, impl: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(Σ −log(1 − p_ij), Σ p_ij/(1 − p_ij)), each [N], over the negatives except key `top` [N].

    p_ij = e^(s_ij − lse_i). Without the largest score of a row none exceeds ½. The second sum is
    the slope in lse and is not differentiable.
    """
    return passes_of(impl).repel(x, k, label_x, label_k, valid_k, own, lse, top)


@torch.library.custom_op("xdistill::repel_backward", mutates_args=())
def operator_backward(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None, lse: Tensor, top: Tensor,
    g_repel: Tensor, need_x: bool, need_k: bool, impl: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradients in x and k; one that is not needed is empty."""
    return passes_of(impl).repel_backward(
        x, k, label_x, label_k, valid_k, own, lse, top, g_repel, need_x, need_k
    )


@operator.register_fake
def _(x, k, label_x, label_k, valid_k, own, lse, top, impl):
    return empty_statistics(x, 2)


@operator_backward.register_fake
def _(x, k, label_x, label_k, valid_k, own, lse, top, g_repel, need_x, need_k, impl):
    return empty_gradients(x, k, need_x, need_k)


def _save(ctx, inputs, output):
    x, k, label_x, label_k, valid_k, ctx.own, lse, top, ctx.impl = inputs
    ctx.save_for_backward(x, k, label_x, label_k, valid_k, lse, top, output[1])


def _gradient(ctx, g_repel, g_weight):
    x, k, label_x, label_k, valid_k, lse, top, weight = ctx.saved_tensors
    gradients = operator_backward(
        x, k, label_x, label_k, valid_k, ctx.own, lse, top,
        g_repel, *ctx.needs_input_grad[:2], ctx.impl,
    )  # fmt: skip
    dx, dk = needed_gradients(gradients, ctx, x, k)
    return dx, dk, None, None, None, None, -g_repel * weight, None, None


operator.register_autograd(_gradient, setup_context=_save)
operator_backward.register_autograd(no_second_derivative)


class Ring(torch.autograd.Function):
    """The first sum over the keys of all processes, among which `top` is a position."""

    @staticmethod
    def forward(ctx: Any, x, k, label_x, label_k, valid_k, own, lse, top, ranks, impl):
        total, weight = full(x), full(x)

        def visit(block, owner):
            keys, labels, valid = block
            own_here = own_of(own, owner, ranks)
            place = place_in_block(top, owner, len(k))
            cost, odds = operator(x, keys, label_x, labels, valid, own_here, lse, place, impl)
            total.add_(cost)
            weight.add_(odds)

        go_round([k, label_k, valid_k], ranks, visit)
        ctx.save_for_backward(x, k, label_x, label_k, valid_k, lse, top, weight)
        ctx.own, ctx.ranks, ctx.impl = own, ranks, impl
        return total

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, label_x, label_k, valid_k, lse, top, weight = ctx.saved_tensors
        (g_repel,) = grads

        def of_block(block, owner):
            keys, labels, valid = block
            own = own_of(ctx.own, owner, ctx.ranks)
            place = place_in_block(top, owner, len(k))
            return operator_backward(
                x, keys, label_x, labels, valid, own, lse, place, g_repel, True, True, ctx.impl
            )

        dx, dk = ring_gradients(x, [k, label_k, valid_k], ctx.ranks, of_block)
        return dx, dk, *[None] * 4, -g_repel * weight, *[None] * 3
