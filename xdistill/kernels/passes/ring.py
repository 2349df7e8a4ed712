"""Row statistics over the keys of all processes, which go round from neighbour to neighbour.

A process holds its own keys and those that are visiting, however many processes there are. Every
block of keys comes to each process once and then home; in the backward pass the blocks go round
again and collect their gradients. A block's part of a gradient needs only the statistics over all
blocks, so that the backward operators of one process serve here as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from xdistill.kernels.distributed import Ranks
from xdistill.kernels.passes import affinity as affinity_operators
from xdistill.kernels.passes import operators
from xdistill.numerics import EXCLUDED

Block = list[Tensor | None]


def go_round(
    block: Sequence[Tensor | None], ranks: Ranks, visit: Callable[[Block, int], None]
) -> Block:
    """Take every process's block in turn, told whose it is, and get the own one back.

    `visit` may write new tensors into the block, which travel on with it.
    """
    block = list(block)
    for step in range(ranks.size):
        visit(block, (ranks.rank - step) % ranks.size)
        block = [None if x is None else _pass_on(x, ranks) for x in block]
    return block


def _pass_on(x: Tensor, ranks: Ranks) -> Tensor:
    sent = x.contiguous()
    sent = sent.to(torch.uint8) if x.dtype == torch.bool else sent
    got = torch.empty_like(sent)
    following, previous = (ranks.rank + 1) % ranks.size, (ranks.rank - 1) % ranks.size
    # Both at once: with one after the other, two neighbours could wait for each other.
    transfers = [
        dist.P2POp(dist.isend, sent, following),
        dist.P2POp(dist.irecv, got, previous),
    ]
    for work in dist.batch_isend_irecv(transfers):
        work.wait()
    return got.to(x.dtype)


def _rows(x: Tensor, value: float = 0.0) -> Tensor:
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.full((len(x),), value, dtype=dtype, device=x.device)


def _zeros(x: Tensor) -> Tensor:
    return torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))


class RowColumnLSE(torch.autograd.Function):
    """`operators.row_column_lse`; the log-sum-exps of the columns travel with their keys."""

    @staticmethod
    def forward(ctx: Any, x, k, valid, ranks, impl):
        row = _rows(x, EXCLUDED)

        def visit(block, owner):
            keys, valid_k, column = block
            here, of_keys = operators.row_column_lse(x, keys, valid, valid_k, impl)
            row.copy_(torch.logaddexp(row, here))
            block[2] = torch.logaddexp(column, of_keys)

        column = go_round([k, valid, _rows(k, EXCLUDED)], ranks, visit)[2]
        ctx.save_for_backward(x, k, valid, row, column)
        ctx.ranks, ctx.impl = ranks, impl
        return row, column

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, valid, row, column = ctx.saved_tensors
        g_row, g_column = grads
        dx = _zeros(x)

        def visit(block, owner):
            keys, valid_k, of_keys, g_keys, dk = block
            here, there = operators.row_column_lse_backward(
                x, keys, valid, valid_k, row, of_keys, g_row, g_keys, True, True, ctx.impl
            )
            dx.add_(here)
            block[4] = dk + there

        dk = go_round([k, valid, column, g_column, _zeros(k)], ctx.ranks, visit)[4]
        assert dk is not None
        return dx.to(x.dtype), dk.to(k.dtype), None, None, None


class RowLSE(torch.autograd.Function):
    """`operators.row_lse`."""

    @staticmethod
    def forward(ctx: Any, x, k, label_x, label_k, valid_k, own, ranks, impl):
        lse, positive = _rows(x, EXCLUDED), _rows(x)

        def visit(block, owner):
            keys, labels, there = block
            mine = own if owner == ranks.rank else None
            here, sums = operators.row_lse(x, keys, label_x, labels, there, mine, impl)
            lse.copy_(torch.logaddexp(lse, here))
            positive.add_(sums)

        go_round([k, label_k, valid_k], ranks, visit)
        ctx.save_for_backward(x, k, label_x, label_k, valid_k, lse)
        ctx.own, ctx.ranks, ctx.impl = own, ranks, impl
        return lse, positive

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, label_x, label_k, valid_k, lse = ctx.saved_tensors
        dx = _zeros(x)

        def visit(block, owner):
            keys, labels, there, dk = block
            own = ctx.own if owner == ctx.ranks.rank else None
            here, more = operators.row_lse_backward(
                x, keys, label_x, labels, there, own, lse, *grads, True, True, ctx.impl
            )
            dx.add_(here)
            block[3] = dk + more

        dk = go_round([k, label_k, valid_k, _zeros(k)], ctx.ranks, visit)[3]
        assert dk is not None
        return dx.to(x.dtype), dk.to(k.dtype), *[None] * 6


class TopLSE(torch.autograd.Function):
    """`operators.top_lse`; positions count through the keys of all ranks."""

    @staticmethod
    def forward(ctx: Any, x, k, label_x, label_k, valid_k, own, ranks, impl):
        lse, others, highest = (_rows(x, EXCLUDED) for _ in range(3))
        positive, top = _rows(x), torch.zeros(len(x), dtype=torch.int64, device=x.device)

        def visit(block, owner):
            keys, labels, there = block
            mine = own if owner == ranks.rank else None
            here, rest, sums, high, place = operators.top_lse(
                x, keys, label_x, labels, there, mine, impl
            )
            wins = high > highest
            best = torch.where(wins, torch.logaddexp(rest, lse), torch.logaddexp(others, here))
            others.copy_(best)
            lse.copy_(torch.logaddexp(lse, here))
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
        dx = _zeros(x)

        def visit(block, owner):
            keys, labels, there, dk = block
            own = ctx.own if owner == ctx.ranks.rank else None
            here, more = operators.top_lse_backward(
                x, keys, label_x, labels, there, own, lse, others, _place(top, owner, len(k)),
                *grads[:3], True, True, ctx.impl,
            )  # fmt: skip
            dx.add_(here)
            block[3] = dk + more

        dk = go_round([k, label_k, valid_k, _zeros(k)], ctx.ranks, visit)[3]
        assert dk is not None
        return dx.to(x.dtype), dk.to(k.dtype), *[None] * 6


class Repel(torch.autograd.Function):
    """The first sum of `operators.repel`, with positions as `TopLSE` gives them."""

    @staticmethod
    def forward(ctx: Any, x, k, label_x, label_k, valid_k, own, lse, top, ranks, impl):
        total, weight = _rows(x), _rows(x)

        def visit(block, owner):
            mine = own if owner == ranks.rank else None
            keys, labels, there = block
            at = _place(top, owner, len(k))
            here, odds = operators.repel(x, keys, label_x, labels, there, mine, lse, at, impl)
            total.add_(here)
            weight.add_(odds)

        go_round([k, label_k, valid_k], ranks, visit)
        ctx.save_for_backward(x, k, label_x, label_k, valid_k, lse, top, weight)
        ctx.own, ctx.ranks, ctx.impl = own, ranks, impl
        return total

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, label_x, label_k, valid_k, lse, top, weight = ctx.saved_tensors
        (g,) = grads
        dx = _zeros(x)

        def visit(block, owner):
            keys, labels, there, dk = block
            own = ctx.own if owner == ctx.ranks.rank else None
            here, more = operators.repel_backward(
                x, keys, label_x, labels, there, own, lse, _place(top, owner, len(k)),
                g, True, True, ctx.impl,
            )  # fmt: skip
            dx.add_(here)
            block[3] = dk + more

        dk = go_round([k, label_k, valid_k, _zeros(k)], ctx.ranks, visit)[3]
        assert dk is not None
        return dx.to(x.dtype), dk.to(k.dtype), *[None] * 4, -g * weight, *[None] * 3


class SoftplusSum(torch.autograd.Function):
    """`operators.softplus_sum`."""

    @staticmethod
    def forward(ctx: Any, x, k, bias, valid_k, own, ranks, impl):
        total = _rows(x)

        def visit(block, owner):
            mine = own if owner == ranks.rank else None
            total.add_(operators.softplus_sum(x, block[0], bias, block[1], mine, impl))

        go_round([k, valid_k], ranks, visit)
        ctx.save_for_backward(x, k, bias, valid_k)
        ctx.own, ctx.ranks, ctx.impl = own, ranks, impl
        return total

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, bias, valid_k = ctx.saved_tensors
        dx, dbias = _zeros(x), torch.zeros_like(bias)

        def visit(block, owner):
            keys, there, dk = block
            own = ctx.own if owner == ctx.ranks.rank else None
            here, more, slope = operators.softplus_sum_backward(
                x, keys, bias, there, own, grads[0], True, True, ctx.impl
            )
            dx.add_(here)
            dbias.add_(slope)
            block[2] = dk + more

        dk = go_round([k, valid_k, _zeros(k)], ctx.ranks, visit)[2]
        assert dk is not None
        return dx.to(x.dtype), dk.to(k.dtype), dbias, None, None, None, None


class AffinityStats(torch.autograd.Function):
    """`affinity_operators.affinity_stats`; the keys of both sides travel together."""

    @staticmethod
    def forward(ctx: Any, x, k, tx, tk, valid_k, own, ranks, impl):
        lse, target, cross = _rows(x, EXCLUDED), _rows(x, EXCLUDED), _rows(x)

        def visit(block, owner):
            mine = own if owner == ranks.rank else None
            keys, target_keys, there = block
            here, of_target, gap = affinity_operators.affinity_stats(
                x, keys, tx, target_keys, there, mine, impl
            )
            both = torch.logaddexp(target, of_target)
            cross.mul_((target - both).exp()).add_(gap * (of_target - both).exp())
            target.copy_(both)
            lse.copy_(torch.logaddexp(lse, here))

        go_round([k, tk, valid_k], ranks, visit)
        ctx.save_for_backward(x, k, tx, tk, valid_k, lse, target)
        ctx.own, ctx.ranks, ctx.impl = own, ranks, impl
        ctx.mark_non_differentiable(target)
        return lse, target, cross

    @staticmethod
    def backward(ctx: Any, *grads):
        x, k, tx, tk, valid_k, lse, target = ctx.saved_tensors
        g_lse, _, g_cross = grads
        dx = _zeros(x)

        def visit(block, owner):
            keys, target_keys, there, dk = block
            own = ctx.own if owner == ctx.ranks.rank else None
            here, more = affinity_operators.affinity_stats_backward(
                x, keys, tx, target_keys, there, own, lse, target, g_lse, g_cross,
                True, True, ctx.impl,
            )  # fmt: skip
            dx.add_(here)
            block[3] = dk + more

        dk = go_round([k, tk, valid_k, _zeros(k)], ctx.ranks, visit)[3]
        assert dk is not None
        return dx.to(x.dtype), dk.to(k.dtype), *[None] * 6


def _place(top: Tensor, owner: int, count: int) -> Tensor:
    """The position of the largest score among an owner's keys; -1 where it is another's."""
    return torch.where(top // count == owner, top - owner * count, -1)
