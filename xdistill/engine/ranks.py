"""Validation over several processes, whose rows may not divide among them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from xdistill.types import PairedBatch


class RowsOnce:
    """Hides the labels of rows that a DistributedSampler repeats, so that each is scored once.

    Where rows cannot be dealt equally the sampler begins again at the first ones, and a metric
    would count them twice. They are those whose position does not rise any more.
    """

    def __init__(self) -> None:
        self.highest = -1

    def begin(self) -> None:
        """Begin an epoch."""
        self.highest = -1

    def once(self, batch: PairedBatch, loader: object) -> PairedBatch:
        """The batch, repeated rows unlabelled.

        Args:
            batch: the next one of a rank.
            loader: the rank's validation loader.
        """
        sampler = getattr(loader, "sampler", None) if isinstance(loader, DataLoader) else None
        in_order = isinstance(sampler, DistributedSampler) and not sampler.shuffle
        if not in_order or batch.index is None:
            return batch
        before = torch.cat([batch.index.new_tensor([self.highest]), batch.index])
        highest = before.cummax(dim=0).values
        self.highest = int(highest[-1])
        repeated = batch.index <= highest[:-1]
        return replace(batch, target=_unlabelled(batch.target, repeated))


def _unlabelled(target: Tensor, rows: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (target.ndim - 1)), torch.full_like(target, -1), target)
