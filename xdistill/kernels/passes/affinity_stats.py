"""Two softmaxes of each row, the student's and the teacher's, and the gap between them.

Candidates of row i are the valid keys but its own, j = i + own, which is the diagonal where rows
meet themselves; own=None keeps all. The teacher's rows tx [N, E] and keys tk [M, E] are constants.
"""

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
from xdistill.kernels.passes.implementations import affinity_of
from xdistill.kernels.passes.ring import full, go_round, own_of, ring_gradients
from xdistill.numerics import EXCLUDED


def affinity_stats(
    rows: Rows,
    keys: Keys,
    teacher_rows: Float[Tensor, "n e"],
    teacher_keys: Float[Tensor, "m e"],
    impl: str,
    ranks: Ranks = ALONE,
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """(lse, target_lse, cross) of each row: `operator`."""
    inputs = rows.x, keys.k, teacher_rows, teacher_keys, keys.valid, keys.own
    if ranks.ring:
        return Ring.apply(*inputs, ranks, impl)  # pyright: ignore[reportReturnType]
    return operator(*inputs, impl)


@torch.library.custom_op("xdistill::affinity_stats", mutates_args=())
def operator(
    x: Tensor, k: Tensor, tx: Tensor, tk: Tensor,
    valid_k: Tensor | None, own: int | None, impl: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(lse, target_lse, cross), each [N], of s_ij = x_i · k_j and t_ij = tx_i · tk_j.

    lse and target_lse are the log-sum-exps of s and t over the candidates, cross the mean of t − s
    under softmax(t): the divergence of the row is cross − target_lse + lse. Without candidates they
    are EXCLUDED, EXCLUDED and 0.
    """
    return affinity_of(impl).affinity_stats(x, k, tx, tk, valid_k, own)


@torch.library.custom_op("xdistill::affinity_stats_backward", mutates_args=())
def operator_backward(
    x: Tensor, k: Tensor, tx: Tensor, tk: Tensor,
    valid_k: Tensor | None, own: int | None, lse: Tensor, target_lse: Tensor,
    g_lse: Tensor, g_cross: Tensor, need_x: bool, need_k: bool, impl: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradients in x and k; one that is not needed is empty."""
    return affinity_of(impl).affinity_stats_backward(
        x, k, tx, tk, valid_k, own, lse, target_lse, g_lse, g_cross, need_x, need_k
    )


@operator.register_fake
def _(x, k, tx, tk, valid_k, own, impl):
    return empty_statistics(x, 3)


@operator_backward.register_fake
def _(x, k, tx, tk, valid_k, own, lse, target_lse, g_lse, g_cross, need_x, need_k, impl):
    return empty_gradients(x, k, need_x, need_k)


def _save(ctx, inputs, output):
    *tensors, ctx.own, ctx.impl = inputs
    ctx.save_for_backward(*tensors, *output[:2])


def _gradient(ctx, g_lse, g_target, g_cross):
    x, k, tx, tk, valid_k, lse, target_lse = ctx.saved_tensors
    gradients = operator_backward(
        x, k, tx, tk, valid_k, ctx.own, lse, target_lse, g_lse, g_cross,
        *ctx.needs_input_grad[:2], ctx.impl,
    )  # fmt: skip
    return *needed_gradients(gradients, ctx, x, k), None, None, None, None, None


operator.register_autograd(_gradient, setup_context=_save)
operator_backward.register_autograd(no_second_derivative)


class Ring(torch.autograd.Function):
    """The same over the keys of all processes; student's and teacher's keys travel together."""

    @staticmethod
    def forward(ctx: Any, x, k, tx, tk, valid_k, own, ranks, impl):
        lse, target_lse, cross = full(x, EXCLUDED), full(x, EXCLUDED), full(x)

        def visit(block, owner):
            keys, teacher_keys, valid = block
            own_here = own_of(own, owner, ranks)
            of_student, of_teacher, gap = operator(x, keys, tx, teacher_keys, valid, own_here, impl)
            both = torch.logaddexp(target_lse, of_teacher)
            cross.mul_((target_lse - both).exp()).add_(gap * (of_teacher - both).exp())
            target_lse.copy_(both)
            lse.copy_(torch.logaddexp(lse, of_student))

        go_round([k, tk, valid_k], ranks, visit)
        ctx.save_for_backward(x, k, tx, tk, valid_k, lse, target_lse)
        ctx.own, ctx.ranks, ctx.impl = own, ranks, impl
        ctx.mark_non_differentiable(target_lse)
        return lse, target_lse, cross

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, tx, tk, valid_k, lse, target_lse = ctx.saved_tensors
        g_lse, _, g_cross = grads

        def of_block(block, owner):
            keys, teacher_keys, valid = block
            own = own_of(ctx.own, owner, ctx.ranks)
            return operator_backward(
                x, keys, tx, teacher_keys, valid, own, lse, target_lse, g_lse, g_cross,
                True, True, ctx.impl,
            )  # fmt: skip

        return *ring_gradients(x, [k, tk, valid_k], ctx.ranks, of_block), *[None] * 6
