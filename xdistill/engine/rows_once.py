"""Validation over several processes, whose rows may not divide among them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.data import SequentialSampler

from xdistill.types import PairedBatch, unlabelled_where


class RowsOnce:
    """Hides the labels of rows that `over_ranks` repeats, so that each is scored once.

    Where rows cannot be dealt equally some of the first batch come once more, and a metric would
    count them twice. In a loader without `shuffle` they are those whose position does not rise any
    more.
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
        dealt = getattr(loader, "batch_sampler", None)
        order = getattr(getattr(dealt, "batches", None), "sampler", None)
        if not isinstance(order, SequentialSampler) or batch.index is None:
            return batch
        before = torch.cat([batch.index.new_tensor([self.highest]), batch.index])
        highest = before.cummax(dim=0).values
        self.highest = int(highest[-1])
        repeated = batch.index <= highest[:-1]
        return replace(batch, target=unlabelled_where(batch.target, repeated))
