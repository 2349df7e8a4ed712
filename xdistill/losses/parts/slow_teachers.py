"""Slow copies of a teacher that trains, which fill the memories of its losses."""

from __future__ import annotations

from torch import nn

from xdistill.losses.parts.loss import Loss
from xdistill.memory import EMA


def memory_losses(loss: Loss) -> list[Loss]:
    """The losses with a memory that a loss is composed of.

    Raises:
        ValueError: a loss holds one that its `leaves` does not yield, so that nothing would keep
            stale outputs out of that memory.
    """
    leaves = list(loss.leaves())
    keepers = [leaf for leaf in leaves if leaf.keeps_memory]
    for leaf in leaves:
        for inner in leaf.modules():
            if isinstance(inner, Loss) and inner.keeps_memory and inner not in keepers:
                raise ValueError(
                    f"{leaf.label} holds {inner.label}, which keeps a memory, while the teacher "
                    f"trains; {leaf.label} must yield it from leaves()"
                )
    return keepers


def slow_copies(teacher: nn.Module, keepers: list[Loss]) -> nn.ModuleList:
    """A moving average of a training teacher for each momentum that its losses' memories have.

    A memory outlives the weights that computed its entries; those of a slow copy change less.
    """
    momenta = sorted({keeper.teacher_momentum for keeper in keepers})
    return nn.ModuleList([EMA(teacher, momentum) for momentum in momenta])
