"""One contrast over the batches of several processes, concatenated in the order of their ranks.

Each process owns its rows and its keys. On every process the value is that of the whole batch, and
the gradient is that of this value in the process's own rows and keys. For a parameter that all
processes share, such as a learned scale, each process gets the part that its own rows contribute:
the sum over processes is the gradient of the whole batch.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.kernels.keys import Keys, Rows
from xdistill.numerics import gather_processes

Gather = Literal["none", "all", "ring"]


class Ranks(NamedTuple):
    """The processes that share a batch.

    Attributes:
        size: their number.
        rank: the rank of this one.
        ring: keys are passed on from process to process instead of being gathered.
    """

    size: int = 1
    rank: int = 0
    ring: bool = False


ALONE = Ranks()


def share(op: str, gather: str, *rows: Tensor) -> Ranks:
    """The processes whose batches `gather` combines; only this one without a process group.

    Raises:
        ValueError: an unknown `gather`, or batches of different sizes. Every process raises it.
    """
    if gather not in get_args(Gather):
        raise ValueError(f"{op}: unknown gather {gather!r}; choose one of {get_args(Gather)}")
    if gather == "none" or not dist.is_available() or not dist.is_initialized():
        return ALONE
    ranks = Ranks(dist.get_world_size(), dist.get_rank(), gather == "ring")
    if ranks.size == 1:
        return ALONE
    sizes = torch.tensor([len(x) for x in rows], device=rows[0].device)
    found = gather_processes(sizes).view(ranks.size, len(rows))
    if not bool((found == found[0, 0]).all()):
        listed = ", ".join(f"rank {rank}: {row}" for rank, row in enumerate(found.tolist()))
        raise ValueError(
            f"{op}: gather={gather!r} needs the same number of rows and keys on every process, got "
            f"{listed}; drop the last uneven batch, or pad it and mark the padding in valid"
        )
    return ranks


class _Gather(torch.autograd.Function):
    """Forward: the rows of all processes. Backward: the gradient of this process's own rows.

    With `add_up` that is the sum of what all processes contribute to it; without, this process
    computes the whole value, as every other does, and takes its own part.
    """

    @staticmethod
    def forward(ctx, x, ranks, add_up):
        ctx.ranks, ctx.add_up = ranks, add_up
        return gather_processes(x)

    @staticmethod
    def backward(ctx, *grads):
        g = grads[0].contiguous()
        if ctx.add_up:
            g = g.clone()
            dist.all_reduce(g)
        return g.chunk(ctx.ranks.size)[ctx.ranks.rank].clone(), None, None


class _SumOverRanks(torch.autograd.Function):
    """Forward: the sum over processes. Backward: the gradient passes to the own summand."""

    @staticmethod
    def forward(ctx, x):
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, *grads):
        return grads[0]


def gather_keys(keys: Keys, ranks: Ranks) -> Keys:
    """The keys of all processes in the order of their ranks; `own` is shifted accordingly."""
    if ranks.size == 1:
        return keys
    own = None if keys.own is None else keys.own + ranks.rank * len(keys.k)
    k = _Gather.apply(keys.k, ranks, True)
    return Keys(k, _gathered(keys.label, ranks), _gathered(keys.valid, ranks), own)  # pyright: ignore[reportArgumentType]


def gather_labels(keys: Keys, ranks: Ranks) -> Keys:
    """As `gather_keys`, but with empty keys: for counts, which need labels and masks alone."""
    if ranks.size == 1:
        return keys
    own = None if keys.own is None else keys.own + ranks.rank * len(keys.k)
    k = keys.k.new_zeros(ranks.size * len(keys.k), 0)
    return Keys(k, _gathered(keys.label, ranks), _gathered(keys.valid, ranks), own)


def whole_rows(rows: Rows, ranks: Ranks) -> Rows:
    """The rows of all processes, for a value that every process computes as a whole."""
    if ranks.size == 1:
        return rows
    x = gather_whole(rows.x, ranks)
    return Rows(x, _gathered(rows.label, ranks), _gathered(rows.keep, ranks))


def whole_keys(keys: Keys, ranks: Ranks) -> Keys:
    """The keys of all processes, for a value that every process computes as a whole."""
    if ranks.size == 1:
        return keys
    k = gather_whole(keys.k, ranks)
    return Keys(k, _gathered(keys.label, ranks), _gathered(keys.valid, ranks), keys.own)


def gather_whole(x: Float[Tensor, "n d"], ranks: Ranks) -> Float[Tensor, "m d"]:
    """Rows of all processes, for a value that every process computes as a whole."""
    return x if ranks.size == 1 else _Gather.apply(x, ranks, False)  # pyright: ignore[reportReturnType]


def _gathered(
    beside: Int64[Tensor, " n"] | Bool[Tensor, " n"] | None, ranks: Ranks
) -> Int64[Tensor, " m"] | Bool[Tensor, " m"] | None:
    return None if beside is None else gather_processes(beside)


def sum_over_ranks(x: Tensor, ranks: Ranks) -> Tensor:
    """The sum of the processes' tensors; the gradient passes to each process's own."""
    return x if ranks.size == 1 else _SumOverRanks.apply(x)  # pyright: ignore[reportReturnType]


def count_over_ranks(counted: Bool[Tensor, " n"], ranks: Ranks) -> Int64[Tensor, ""]:
    """The number of True entries on all processes."""
    count = counted.sum()
    if ranks.size > 1:
        dist.all_reduce(count)
    return count


def logsumexp_over_ranks(x: Float[Tensor, " m"], ranks: Ranks) -> Float[Tensor, " m"]:
    """log Σ e^x over the processes, entry by entry."""
    if ranks.size == 1:
        return x
    high = x.detach().clone()
    dist.all_reduce(high, dist.ReduceOp.MAX)
    return sum_over_ranks((x - high).exp(), ranks).log() + high


def part_of(x: Float[Tensor, ""], ranks: Ranks) -> Float[Tensor, ""]:
    """x itself, whose gradient is divided among processes that all compute the same value."""
    return x if ranks.size == 1 else x / ranks.size + (x - x / ranks.size).detach()


def mean_over_all(
    values: Float[Tensor, " n"], counted: Bool[Tensor, " n"], ranks: Ranks
) -> Float[Tensor, ""]:
    """The mean over the counted rows of all processes; 0, with a gradient of 0, without any."""
    total = torch.where(counted, values, torch.zeros_like(values)).sum()
    return sum_over_ranks(total, ranks) / count_over_ranks(counted, ranks).clamp(min=1)
