"""A DataLoader of paired batches."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from xdistill.data.any_dataset import as_paired
from xdistill.data.collate import collate
from xdistill.data.order import EpochSampler, TwoStreams
from xdistill.types import PairedSample


def paired_loader(
    dataset: Any,
    batch_size: int | None = None,
    *,
    shuffle: bool = False,
    seed: int = 0,
    num_workers: int = 0,
    drop_last: bool = False,
    labelled_per_batch: int | None = None,
    balanced: bool = False,
    sampler: Sampler[int] | Iterable[int] | None = None,
    batch_sampler: Sampler[list[int]] | Iterable[Sequence[int]] | None = None,
    pin_memory: bool | None = None,
    persistent_workers: bool = False,
) -> DataLoader[PairedSample]:
    """A DataLoader of PairedBatch whose order and random transforms follow from the seed.

    Args:
        dataset: rows to read: a PairedDataset, or anything that `as_paired` takes.
        batch_size: rows of a batch.
        shuffle: a new order for every epoch.
        seed: of the order and of random transforms.
        num_workers: processes that read rows.
        drop_last: leave out a last batch that has fewer rows.
        labelled_per_batch: how many labelled rows every batch has beside unlabelled ones
            (`TwoStreams`); needs `shuffle`. None mixes rows as they come.
        balanced: draw those labelled rows of every class equally often.
        sampler: an order of your own instead of `shuffle`: positions of rows.
        batch_sampler: batches of your own instead of `batch_size`: lists of positions.
        pin_memory: batches in page-locked memory; None: where there is a CUDA device.
        persistent_workers: keep the processes from epoch to epoch; needs `num_workers`.

    Raises:
        TypeError: a dataset whose rows are no paired samples; says how to make it one.
        ValueError: a negative seed for a shuffle; `labelled_per_batch` out of range, without
            `shuffle`, or for rows that are all labelled or all unlabelled; `balanced` without it;
            two ways to choose the order, or none or two to choose the batches.
    """
    paired = as_paired(dataset)
    _check_order(shuffle, labelled_per_batch, balanced, sampler)
    others = shuffle or drop_last or sampler is not None
    _check_batches(batch_size, batch_sampler is not None, others)
    if batch_size is not None:
        if labelled_per_batch is not None:
            streams = paired.target, batch_size, labelled_per_batch
            sampler = TwoStreams(*streams, balanced=balanced, seed=seed)
        elif shuffle:
            sampler = EpochSampler(len(paired), seed)
    batches: dict[str, Any] = {"batch_sampler": batch_sampler}
    if batch_size is not None:
        batches = {"batch_size": batch_size, "sampler": sampler, "drop_last": drop_last}
    return DataLoader(
        paired,
        **batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        worker_init_fn=_seed_worker,
        generator=torch.Generator().manual_seed(seed),
        persistent_workers=persistent_workers,
    )


def _check_order(shuffle: bool, labelled: int | None, balanced: bool, sampler: Any) -> None:
    if sampler is not None and shuffle:
        raise ValueError(
            f"shuffle=True and sampler={type(sampler).__name__} both choose the order of the rows; "
            "pass one of them"
        )
    if (labelled is not None and not shuffle) or (balanced and labelled is None):
        raise ValueError(
            f"labelled_per_batch={labelled} with shuffle={shuffle} and balanced={balanced}: "
            "batches of two streams need labelled_per_batch and shuffle=True"
        )


def _check_batches(batch_size: int | None, has_batches: bool, others: bool) -> None:
    if not has_batches and batch_size is None:
        raise ValueError("a loader needs batch_size, or a batch_sampler of your own; got neither")
    if has_batches and (batch_size is not None or others):
        raise ValueError(
            "batch_sampler chooses order and size of the batches by itself; leave out batch_size, "
            "shuffle, sampler, labelled_per_batch and drop_last"
        )


def _seed_worker(worker: int) -> None:
    seed = torch.initial_seed() % 2**32
    np.random.seed(seed)
    random.seed(seed)
