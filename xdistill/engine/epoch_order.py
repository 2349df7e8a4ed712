"""The order and the random numbers of an epoch, the same whenever it runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler


class EpochOrder(L.Callback):
    """Seeds every epoch by itself, so that a resumed run draws what the unbroken one would.

    Of several processes all have the order of the first, and random numbers of their own: dropout
    and augmentation would else be the same in each of them.
    """

    rank = 0

    def __init__(self, seed: int, start: int, loader: DataLoader):
        self.seed = seed
        self.start = start
        self.loader = loader

    @contextmanager
    def of_loader(self) -> Iterator[None]:
        """Order and worker seeds draw from generators of this run; the loader gets its own back.

        Lightning makes the iterator of a run's first epoch before that epoch's hook, and those of
        later epochs after it, so the generators must be there and seeded beforehand.
        """
        drawing: list[Any] = [self.loader]
        if isinstance(self.loader.sampler, RandomSampler):
            drawing.append(self.loader.sampler)
        given = [one.generator for one in drawing]
        for one in drawing:
            one.generator = torch.Generator()
        self._seed_loader(self.start)
        try:
            yield
        finally:
            for one, generator in zip(drawing, given, strict=True):
                one.generator = generator

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed all random numbers of this epoch."""
        seed = self._epoch_seed(trainer.current_epoch, self.rank)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        self._seed_loader(trainer.current_epoch)

    def _seed_loader(self, epoch: int) -> None:
        sampler = self.loader.sampler
        for generator, rank in (
            (self.loader.generator, self.rank),  # of the workers
            (getattr(sampler, "generator", None), 0),
        ):
            if isinstance(generator, torch.Generator):
                generator.manual_seed(self._epoch_seed(epoch, rank))
        set_epoch = getattr(sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)

    def _epoch_seed(self, epoch: int, rank: int) -> int:
        entropy = [self.seed, epoch, rank] if rank else [self.seed, epoch]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])
