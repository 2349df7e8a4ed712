"""The order of rows in an epoch: shuffled, or in two streams of labelled and unlabelled rows."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """A shuffle that depends on seed and epoch alone, so that a resumed run sees the same order.

    Lightning calls `set_epoch` before every epoch.

    Args:
        length: number of rows.
        seed: 0 or more.
    """

    def __init__(self, length: int, seed: int = 0):
        check_seed(seed)
        self.length = length
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Select the order of that epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self):
        generator = epoch_generator(self.seed, self.epoch)
        return iter(torch.randperm(self.length, generator=generator).tolist())


class TwoStreams(Sampler[int]):
    """An order of rows that, cut into batches, has `labelled_per_batch` labelled rows in each.

    With few labels a plain shuffle gives most batches a labelled row or two, so that the task's
    loss hardly sees any. Here an epoch is one pass over the unlabelled rows, as in the
    semi-supervised protocols (Sohn et al., FixMatch, NeurIPS 2020, section 2.1), and the labelled
    rows are shuffled and passed over as often as that takes. The order depends on seed and epoch
    alone, so that a resumed run sees the same one.

    Args:
        target: [N] class, -1 where unlabelled; or [N, K] (`PairedBatch`), where a row with an
            entry of 0 or 1 is labelled.
        batch_size: rows of a batch B; the last one of an epoch may have fewer unlabelled rows.
        labelled_per_batch: labelled rows of a batch L, from 1 to B − 1.
        balanced: draw labelled rows of every class equally often, those of a rare class more often.
        seed: 0 or more; the order follows from it and the epoch.

    Raises:
        ValueError: numbers out of range, rows that are all labelled or all unlabelled, or
            `balanced` for rows of several classes.
    """

    def __init__(
        self,
        target: Shaped[Tensor, "n ..."],
        batch_size: int,
        labelled_per_batch: int,
        *,
        balanced: bool = False,
        seed: int = 0,
    ):
        check_seed(seed)
        whole = isinstance(labelled_per_batch, int) and not isinstance(labelled_per_batch, bool)
        if not whole or not 1 <= labelled_per_batch < batch_size:
            raise ValueError(
                f"labelled_per_batch must be from 1 to batch_size - 1 = {batch_size - 1}, so that "
                f"a batch has room for unlabelled rows, got {labelled_per_batch}"
            )
        if balanced and (target.ndim > 1 or target.is_floating_point()):
            raise ValueError(
                "balanced draws every class equally often, but these rows may have several "
                "classes, or have no class but values; leave it out"
            )
        labelled = labelled_rows(target)
        for kind, count in (("labelled", labelled.sum()), ("unlabelled", (~labelled).sum())):
            if not count:
                raise ValueError(
                    f"labelled_per_batch={labelled_per_batch} mixes labelled and unlabelled rows, "
                    f"but no row is {kind}; leave it out"
                )
        self.unlabelled = (~labelled).nonzero().flatten()
        classes = target[labelled].unique().tolist() if balanced else [None]
        self.strata = [
            (labelled if label is None else target == label).nonzero().flatten()
            for label in classes
        ]
        self.batch_size = batch_size
        self.labelled_per_batch = labelled_per_batch
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of that epoch."""
        self.epoch = epoch

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.unlabelled) // (self.batch_size - self.labelled_per_batch))

    def __len__(self) -> int:
        return len(self.unlabelled) + self.batches * self.labelled_per_batch

    def __iter__(self):
        generator = epoch_generator(self.seed, self.epoch)
        order = torch.randperm(len(self.unlabelled), generator=generator)
        unlabelled = self.unlabelled[order].split(self.batch_size - self.labelled_per_batch)
        labelled = self._labelled(generator).split(self.labelled_per_batch)
        for few, many in zip(labelled, unlabelled, strict=True):
            yield from few.tolist()
            yield from many.tolist()

    def _labelled(self, generator: torch.Generator) -> Int64[Tensor, " n"]:
        """The labelled rows of an epoch: shuffled passes, the strata in turn."""
        wanted = self.batches * self.labelled_per_batch
        each = -(-wanted // len(self.strata))
        turns = torch.stack([_passes(rows, each, generator) for rows in self.strata], dim=1)
        places = torch.rand(turns.shape, generator=generator).argsort(dim=1)
        return turns.gather(1, places).flatten()[:wanted]


def labelled_rows(target: Shaped[Tensor, "n ..."]) -> Bool[Tensor, " n"]:
    """Which rows have a label: a class or value, or where there are several a known one."""
    known = ~target.isnan() if target.is_floating_point() else target >= 0
    return known if target.ndim == 1 else known.flatten(1).any(dim=1)


def _passes(
    rows: Int64[Tensor, " n"], wanted: int, generator: torch.Generator
) -> Int64[Tensor, " m"]:
    """So many rows from shuffled passes over all of them."""
    count = -(-wanted // len(rows))
    orders = [torch.randperm(len(rows), generator=generator) for _ in range(count)]
    return rows[torch.cat(orders)[:wanted]]


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """A generator that depends on seed and epoch alone, in every process and Python version."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def check_seed(seed: int) -> None:
    """Raise unless a seed can be used.

    Raises:
        ValueError: it is negative.
    """
    if seed < 0:
        raise ValueError(f"the seed of a shuffle is 0 or more, got {seed}")
