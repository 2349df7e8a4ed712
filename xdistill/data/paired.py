"""Paired samples of several modalities, and how they become batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xdistill.data.order import EpochSampler, TwoStreams, labelled_rows
from xdistill.data.rows import Column, Rows, stack_rows, take
from xdistill.data.target import as_target, check_target, kind_of_column
from xdistill.types import Outputs, PairedBatch, PairedSample, TargetKind


class PairedDataset(Dataset[PairedSample]):
    """N rows, each recorded in several modalities.

    Args:
        inputs: one column per modality. A column may read its file when it is indexed.
        target: [N] class index, -1 where unlabelled; or [N, K] for rows that may have several
            classes (see `PairedBatch`); or of another kind, which `target_kind` names.
        classes: names of the K classes; of the K values, or none, in a regression.
        group: [N] subject, or another unit that a split must not divide. None: each row its own.
        valid: per modality [N], False where a row lacks it; its column is not read there.
        transforms: per modality a function Tensor -> Tensor that is applied to a row.
        ids: [N] names of the rows, for messages and reports.
        start_s: [N] start of each row in its recording, in seconds; None where rows have no time.
        cached: per teacher modality the teacher's outputs (see `xdistill.data.cache`).
        target_kind: "values" for a regression, "soft" for probabilities of the classes, "sequence"
            for a class at each position [N, L]. None is "class" for [N] and "classes" for [N, K].

    Raises:
        ValueError: columns have different lengths, or a target is no class.
    """

    def __init__(
        self,
        inputs: Mapping[str, Column],
        target: Any,
        *,
        classes: Sequence[str],
        group: Int64[Tensor, " n"] | Sequence[int] | None = None,
        valid: Mapping[str, Bool[Tensor, " n"]] | None = None,
        transforms: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        ids: Sequence[str] | None = None,
        start_s: Float[Tensor, " n"] | Sequence[float] | None = None,
        cached: Mapping[str, Outputs] | None = None,
        target_kind: TargetKind | None = None,
    ):
        self.inputs = dict(inputs)
        self.target = as_target(target, target_kind)
        self.target_kind: TargetKind = kind_of_column(self.target, target_kind)
        self.classes = tuple(classes)
        self.group = (
            torch.arange(len(self.target))
            if group is None
            else torch.as_tensor(group, dtype=torch.int64)
        )
        self.valid = {
            name: torch.as_tensor(mask, dtype=torch.bool) for name, mask in (valid or {}).items()
        }
        self.transforms = dict(transforms or {})
        self.ids = tuple(map(str, range(len(self.target)))) if ids is None else tuple(ids)
        self.start_s = None if start_s is None else torch.as_tensor(start_s, dtype=torch.float64)
        self.cached = dict(cached or {})
        self._check()

    def _check(self) -> None:
        lengths = {
            "target": len(self.target),
            "group": len(self.group),
            "ids": len(self.ids),
            "start_s": len(self.target) if self.start_s is None else len(self.start_s),
            **{f"inputs[{name!r}]": len(column) for name, column in self.inputs.items()},
            **{f"valid[{name!r}]": len(mask) for name, mask in self.valid.items()},
            **{f"cached[{name!r}]": len(out.embedding) for name, out in self.cached.items()},
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(f"a paired dataset needs columns of one length, got {lengths}")
        if not len(self.target):
            raise ValueError("a paired dataset needs at least one row, got none; check the split")
        check_target(self.target, self.target_kind, self.classes, self.ids)

    @property
    def multi_label(self) -> bool:
        """Whether a row may have several classes, `target` being [N, K]."""
        return self.target_kind == "classes"

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of the inputs, in alphabetical order."""
        return tuple(sorted(self.inputs))

    @property
    def labelled(self) -> Bool[Tensor, " n"]:
        """Which rows have a label."""
        return labelled_rows(self.target)

    def rows_with(self, modality: str) -> Bool[Tensor, " n"]:
        """Which rows have the modality."""
        return self.valid.get(modality, torch.ones(len(self), dtype=torch.bool))

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, row: int) -> PairedSample:
        return PairedSample(
            inputs={name: self.read(name, row) for name in self.inputs if self.has(name, row)},
            target=int(self.target[row]) if self.target_kind == "class" else self.target[row],
            valid={name: bool(mask[row]) for name, mask in self.valid.items()},
            index=int(row),
            group=int(self.group[row]),
            cached={
                name: outputs.map(lambda tensor: tensor[row])
                for name, outputs in self.cached.items()
            },
        )

    def __getitems__(self, rows: list[int]) -> Rows:
        """Several rows for a DataLoader, which asks for a batch at a time."""
        return Rows(self, rows)

    def has(self, modality: str, row: int) -> bool:
        """Whether a row has the modality."""
        return modality not in self.valid or bool(self.valid[modality][row])

    def read(self, modality: str, row: int) -> Tensor:
        """One row of one modality, transformed, without reading the others."""
        sample = torch.as_tensor(self.inputs[modality][row])
        transform = self.transforms.get(modality)
        return sample if transform is None else transform(sample)

    def replace(self, **changes: Any) -> PairedDataset:
        """The same dataset with some arguments of the constructor changed."""
        own = {
            "inputs": self.inputs,
            "target": self.target,
            "classes": self.classes,
            "group": self.group,
            "valid": self.valid,
            "transforms": self.transforms,
            "ids": self.ids,
            "start_s": self.start_s,
            "cached": self.cached,
            "target_kind": None if self.target_kind in ("class", "classes") else self.target_kind,
        }
        return PairedDataset(**{**own, **changes})

    def with_outputs(self, modality: str, outputs: Outputs) -> PairedDataset:
        """The same rows with a teacher's outputs in the place of its inputs."""
        return self.replace(
            inputs={name: column for name, column in self.inputs.items() if name != modality},
            transforms={name: f for name, f in self.transforms.items() if name != modality},
            cached={**self.cached, modality: outputs},
        )

    def subset(self, rows: Sequence[int] | Tensor | np.ndarray) -> PairedDataset:
        """The rows at these positions, or where a mask is True; read lazily, renumbered from 0."""
        rows = self._positions(rows)
        if not len(rows):
            raise ValueError("the subset has no rows, expected at least one; check the split")
        return self.replace(
            inputs={name: take(column, rows) for name, column in self.inputs.items()},
            target=self.target[rows],
            group=self.group[rows],
            valid={name: mask[rows] for name, mask in self.valid.items()},
            ids=[self.ids[row] for row in rows.tolist()],
            start_s=None if self.start_s is None else self.start_s[rows],
            cached={name: outputs.rows(rows) for name, outputs in self.cached.items()},
        )

    def _positions(self, rows: Sequence[int] | Tensor | np.ndarray) -> Int64[Tensor, " n"]:
        chosen = torch.as_tensor(rows)
        if chosen.dtype != torch.bool:
            return chosen.long()
        if len(chosen) != len(self):
            raise ValueError(
                f"a mask of {len(chosen)} rows cannot select from a dataset of {len(self)}; pass "
                "one value for each row"
            )
        return chosen.nonzero().flatten()


def collate(samples: Sequence[PairedSample]) -> PairedBatch:
    """Stack samples into a batch; a modality that a row lacks becomes zeros, marked in `valid`.

    Raises:
        ValueError: rows of one modality have different shapes.
    """
    names = sorted({name for sample in samples for name in sample.inputs})
    masked = sorted({name for sample in samples for name in sample.valid})
    cached = sorted({name for sample in samples for name in sample.cached})
    return PairedBatch(
        inputs={
            name: stack_rows(name, [one.inputs.get(name) for one in samples]) for name in names
        },
        target=torch.stack([torch.as_tensor(sample.target) for sample in samples]),
        valid={
            name: torch.tensor([sample.valid.get(name, True) for sample in samples])
            for name in masked
        },
        index=torch.tensor([sample.index for sample in samples]),
        group=torch.tensor([sample.group for sample in samples]),
        cached={
            name: _stack_outputs([sample.cached[name] for sample in samples]) for name in cached
        },
    )


def _stack_outputs(rows: Sequence[Outputs]) -> Outputs:
    first = rows[0]
    return Outputs(
        embedding=torch.stack([row.embedding for row in rows]),
        logits=None
        if first.logits is None
        else torch.stack([row.logits for row in rows if row.logits is not None]),
        hidden={name: torch.stack([row.hidden[name] for row in rows]) for name in first.hidden},
    )


class _Collate:
    """`collate`, with zeros also for a modality that no row of the batch has."""

    def __init__(self, dataset: PairedDataset):
        self.dataset = dataset
        self._blank: dict[str, Tensor] = {}

    def __call__(self, samples: Sequence[PairedSample]) -> PairedBatch:
        batch = samples.batch() if isinstance(samples, Rows) else collate(samples)
        for name in set(self.dataset.inputs) - set(batch.inputs):
            if (blank := self._zeros(name)) is not None:
                batch.inputs[name] = torch.stack([blank] * len(samples))
        return batch

    def _zeros(self, name: str) -> Tensor | None:
        """Zeros in the shape of a row, or None if no row of the dataset has the modality."""
        if name not in self._blank:
            rows = range(len(self.dataset))
            row = next((row for row in rows if self.dataset.has(name, row)), None)
            if row is None:
                return None
            with torch.random.fork_rng(devices=[]):  # leaves the run's random numbers alone
                self._blank[name] = torch.zeros_like(self.dataset.read(name, row))
        return self._blank[name]


def paired_loader(
    dataset: PairedDataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    num_workers: int = 0,
    drop_last: bool = False,
    labelled_per_batch: int | None = None,
    balanced: bool = False,
) -> DataLoader[PairedSample]:
    """A DataLoader of PairedBatch whose order and random transforms follow from the seed.

    Args:
        dataset: rows to read.
        batch_size: rows of a batch.
        shuffle: a new order for every epoch.
        seed: of the order and of random transforms.
        num_workers: processes that read rows.
        drop_last: leave out a last batch that has fewer rows.
        labelled_per_batch: how many labelled rows every batch has beside unlabelled ones
            (`TwoStreams`); needs `shuffle`. None mixes rows as they come.
        balanced: draw those labelled rows of every class equally often.

    Raises:
        ValueError: a negative seed for a shuffle; `labelled_per_batch` out of range, without
            `shuffle`, or for rows that are all labelled or all unlabelled; `balanced` without it.
    """
    sampler: torch.utils.data.Sampler[int] | None = None
    if labelled_per_batch is not None and shuffle:
        streams = dataset.target, batch_size, labelled_per_batch
        sampler = TwoStreams(*streams, balanced=balanced, seed=seed)
    elif labelled_per_batch is not None or balanced:
        raise ValueError(
            f"labelled_per_batch={labelled_per_batch} with shuffle={shuffle} and "
            f"balanced={balanced}: batches of two streams need labelled_per_batch and shuffle=True"
        )
    elif shuffle:
        sampler = EpochSampler(len(dataset), seed)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=_Collate(dataset),
        drop_last=drop_last,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_seed_worker,
        generator=torch.Generator().manual_seed(seed),
    )


def _seed_worker(worker: int) -> None:
    seed = torch.initial_seed() % 2**32
    np.random.seed(seed)
    random.seed(seed)
