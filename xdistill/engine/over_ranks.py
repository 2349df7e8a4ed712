"""Which batches of an epoch each of several processes gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import cycle, islice

from torch import distributed
from torch.utils.data import DataLoader, IterableDataset, Sampler
from torch.utils.data.distributed import DistributedSampler


class RankBatches(Sampler[list[int]]):
    """Whole batches in turn: with two processes the first gets batches 0, 2, …, the other 1, 3, ….

    Lightning's own way deals rows, after shuffling them once more: a loader without `shuffle` is
    shuffled, and the labelled rows that `labelled_per_batch` counts are scattered. Here two
    processes with batches of 8 see in each step the rows of one process with batches of 16.

    Args:
        batches: the batches of one process, in the order of the epoch; the same in all processes.
    """

    def __init__(self, batches: Iterable[list[int]]):
        self.batches = batches

    def __len__(self) -> int:
        return -(-len(self.batches) // _world()[1])  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int]]:
        yield from batches_of_rank(list(self.batches), *_world())

    def set_epoch(self, epoch: int) -> None:
        """Select the order of that epoch."""
        set_epoch = getattr(getattr(self.batches, "sampler", self.batches), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)


def batches_of_rank(batches: list[list[int]], rank: int, size: int) -> Iterator[list[int]]:
    """Every `size`-th batch from `rank` on.

    Losses that gather need as many rows in each process. So the rows of a last round that does not
    go round, or whose batches differ in size, are dealt evenly, with up to size − 1 rows of the
    first batch once more.
    """
    for start in range(0, len(batches), size):
        dealt = batches[start : start + size]
        if len(dealt) == size and len({len(batch) for batch in dealt}) == 1:
            yield dealt[rank]
            continue
        rows = [row for batch in dealt for row in batch]
        each = -(-len(rows) // size)
        rows += islice(cycle(batches[0]), each * size - len(rows))
        yield rows[rank * each : (rank + 1) * each]


def over_ranks(loader: DataLoader | None) -> DataLoader | None:
    """The loader for one of several processes.

    Rows of an IterableDataset come as it yields them, and one with a DistributedSampler is dealt
    already.

    Raises:
        ValueError: the loader makes no batches.
    """
    if loader is None or isinstance(loader.dataset, IterableDataset):
        return loader
    if loader.batch_sampler is None:
        raise ValueError(
            "a DataLoader with batch_size=None cannot be dealt to several processes; give it a "
            "batch_size, or deal its rows yourself and pass use_distributed_sampler=False"
        )
    if isinstance(getattr(loader.batch_sampler, "sampler", None), DistributedSampler):
        return loader
    return DataLoader(
        loader.dataset,
        batch_sampler=RankBatches(loader.batch_sampler),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


def _world() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()
