"""Keys that travel round all processes, so that none of them has to hold all at once.

A process holds its own keys and one visiting block of keys, however many processes there are. Every
block visits each process once and then returns to its owner. In the backward pass the blocks travel
again and collect their gradients. A block's part of a gradient depends on the other blocks only
through the statistics over all of them, so the backward operators of one process serve unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from xdistill.kernels.distributed import Ranks

Block = list[Tensor | None]


def go_round(
    block: Sequence[Tensor | None], ranks: Ranks, visit: Callable[[Block, int], None]
) -> Block:
    """Call `visit(block, owner)` for the block of every process; return this process's own block.

    `visit` may replace tensors in the block; the new ones travel on with it.
    """
    block = list(block)
    for step in range(ranks.size):
        visit(block, (ranks.rank - step) % ranks.size)
        block = [None if x is None else _pass_on(x, ranks) for x in block]
    return block


def ring_gradients(
    x: Tensor,
    block: Sequence[Tensor | None],
    ranks: Ranks,
    gradients_of: Callable[[Block, int], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """The gradients of the rows x and of this process's own keys, which come first in `block`.

    `gradients_of(block, owner)` gives the gradients in x and in the keys of one visiting block.
    """
    k = block[0]
    assert k is not None
    dx = _zeros(x)

    def visit(visiting: Block, owner: int) -> None:
        *given, total = visiting
        assert total is not None
        of_rows, of_keys = gradients_of(given, owner)
        dx.add_(of_rows)
        visiting[-1] = total + of_keys

    dk = go_round([*block, _zeros(k)], ranks, visit)[-1]
    assert dk is not None
    return dx.to(x.dtype), dk.to(k.dtype)


def own_of(own: int | None, owner: int, ranks: Ranks) -> int | None:
    """The offset of the own pairs in a block: another process's keys hold none of them."""
    return own if owner == ranks.rank else None


def place_in_block(place: Tensor, owner: int, size: int) -> Tensor:
    """Positions among the keys of all processes as positions in an owner's block of `size` keys.

    -1 for a key of another block.
    """
    return torch.where(place // size == owner, place - owner * size, -1)


def full(x: Tensor, value: float = 0.0) -> Tensor:
    """A statistic of the rows of x, [N] in float32 or wider, that starts at `value`."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.full((len(x),), value, dtype=dtype, device=x.device)


def _zeros(x: Tensor) -> Tensor:
    return torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))


def _pass_on(x: Tensor, ranks: Ranks) -> Tensor:
    """Send x to the next process and receive the tensor of the previous one."""
    sent = x.contiguous()
    sent = sent.to(torch.uint8) if x.dtype == torch.bool else sent
    received = torch.empty_like(sent)
    following, previous = (ranks.rank + 1) % ranks.size, (ranks.rank - 1) % ranks.size
    # Both at once: with one after the other, two neighbours could wait for each other.
    transfers = [
        dist.P2POp(dist.isend, sent, following),
        dist.P2POp(dist.irecv, received, previous),
    ]
    for work in dist.batch_isend_irecv(transfers):
        work.wait()
    return received.to(x.dtype)
