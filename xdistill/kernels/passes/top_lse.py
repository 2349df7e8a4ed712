"""`row_lse` with the largest score of each row kept apart from the others."""

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
from xdistill.numerics import EXCLUDED


def top_lse(
    rows: Rows, keys: Keys, impl: str, ranks: Ranks = ALONE
) -> tuple[
    Float[Tensor, " n"],
    Float[Tensor, " n"],
    Float[Tensor, " n"],
    Float[Tensor, " n"],
    Int64[Tensor, " n"],
]:
    """(lse, others, positive, highest, top) of each row: `operator`.

    In a ring `top` is a position among the keys of all processes in the order of their ranks.
    """
    inputs = rows.x, keys.k, rows.label, keys.label, keys.valid, keys.own
    if ranks.ring:
        return Ring.apply(*inputs, ranks, impl)  # pyright: ignore[reportReturnType]
    return operator(*inputs, impl)


@torch.library.custom_op("xdistill::top_lse", mutates_args=())
def operator(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None, impl: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(lse, others, positive, highest, top), each [N].

    `lse` is the log-sum-exp over all candidates, `positive` the sum of the scores of the positives.
    `others` is the log-sum-exp over all candidates but the one with the `highest` score, whose
    position among the keys is `top` (0 where there is none). The last two are constants.
    """
    return passes_of(impl).top_lse(x, k, label_x, label_k, valid_k, own)


@torch.library.custom_op("xdistill::top_lse_backward", mutates_args=())
def operator_backward(
    x: Tensor, k: Tensor, label_x: Tensor | None, label_k: Tensor | None,
    valid_k: Tensor | None, own: int | None, lse: Tensor, others: Tensor, top: Tensor,
    g_lse: Tensor, g_others: Tensor, g_positive: Tensor, need_x: bool, need_k: bool, impl: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradients in x and k; one that is not needed is empty."""
    return passes_of(impl).top_lse_backward(
        x, k, label_x, label_k, valid_k, own, lse, others, top,
        g_lse, g_others, g_positive, need_x, need_k,
    )  # fmt: skip


@operator.register_fake
def _(x, k, label_x, label_k, valid_k, own, impl):
    return *empty_statistics(x, 4), x.new_empty(len(x), dtype=torch.int64)


@operator_backward.register_fake
def _(
    x, k, label_x, label_k, valid_k, own, lse, others, top,
    g_lse, g_others, g_positive, need_x, need_k, impl,
):  # fmt: skip
    return empty_gradients(x, k, need_x, need_k)


def _save(ctx, inputs, output):
    *tensors, ctx.own, ctx.impl = inputs
    lse, others, _, _, top = output
    ctx.save_for_backward(*tensors, lse, others, top)


def _gradient(ctx, g_lse, g_others, g_positive, g_highest, g_top):
    x, k, label_x, label_k, valid_k, lse, others, top = ctx.saved_tensors
    gradients = operator_backward(
        x, k, label_x, label_k, valid_k, ctx.own, lse, others, top,
        g_lse, g_others, g_positive, *ctx.needs_input_grad[:2], ctx.impl,
    )  # fmt: skip
    return *needed_gradients(gradients, ctx, x, k), None, None, None, None, None


operator.register_autograd(_gradient, setup_context=_save)
operator_backward.register_autograd(no_second_derivative)


class Ring(torch.autograd.Function):
    """The same over the keys of all processes."""

    @staticmethod
    def forward(ctx: Any, x, k, label_x, label_k, valid_k, own, ranks, impl):
        lse, others, highest = (full(x, EXCLUDED) for _ in range(3))
        positive, top = full(x), torch.zeros(len(x), dtype=torch.int64, device=x.device)

        def visit(block, owner):
            keys, labels, valid = block
            own_here = own_of(own, owner, ranks)
            of_block, rest, sums, high, place = operator(
                x, keys, label_x, labels, valid, own_here, impl
            )
            wins = high > highest
            best = torch.where(wins, torch.logaddexp(rest, lse), torch.logaddexp(others, of_block))
            others.copy_(best)
            lse.copy_(torch.logaddexp(lse, of_block))
            top.copy_(torch.where(wins, place + owner * len(k), top))
            highest.copy_(torch.maximum(high, highest))
            positive.add_(sums)

        go_round([k, label_k, valid_k], ranks, visit)
        ctx.save_for_backward(x, k, label_x, label_k, valid_k, lse, others, top)
        ctx.own, ctx.ranks, ctx.impl = own, ranks, impl
        ctx.mark_non_differentiable(highest, top)
        return lse, others, positive, highest, top

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, label_x, label_k, valid_k, lse, others, top = ctx.saved_tensors

        def of_block(block, owner):
            keys, labels, valid = block
            own = own_of(ctx.own, owner, ctx.ranks)
            place = place_in_block(top, owner, len(k))
            return operator_backward(
                x, keys, label_x, labels, valid, own, lse, others, place, *grads[:3],
                True, True, ctx.impl,
            )  # fmt: skip

        return *ring_gradients(x, [k, label_k, valid_k], ctx.ranks, of_block), *[None] * 6
