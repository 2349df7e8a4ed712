"""Batches whose teacher rows are other samples than the student's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from xdistill.data.any_dataset import as_paired
from xdistill.data.collate import collate
from xdistill.data.loader import paired_loader
from xdistill.data.paired import PairedDataset
from xdistill.types import PairedSample, UnpairedBatch


class UnpairedCollate:
    """Puts random rows of a teacher's dataset beside the student's rows of a batch.

    They are drawn with replacement from PyTorch's random numbers, which `fit` seeds anew for each
    epoch.

    Args:
        dataset: the teacher's rows.
        teacher: its modality, or the name of its cached outputs.
    """

    def __init__(self, dataset: PairedDataset, teacher: str):
        if teacher not in dataset.inputs and teacher not in dataset.cached:
            raise ValueError(
                f"the teacher's rows hold neither inputs nor cached outputs of {teacher!r}, but "
                f"inputs of {sorted(dataset.inputs)} and outputs of {sorted(dataset.cached)}"
            )
        self.dataset = dataset
        self.teacher = teacher
        self.rows = dataset.rows_with(teacher).nonzero().flatten()
        if not len(self.rows):
            raise ValueError(f"no row of the teacher's dataset has {teacher!r}")

    def __call__(self, samples: Sequence[PairedSample]) -> UnpairedBatch:
        ours = collate(samples)
        drawn = self.rows[torch.randint(len(self.rows), (len(samples),))]
        theirs = collate([self.dataset[int(row)] for row in drawn])
        name = self.teacher
        inputs = {one: x for one, x in ours.inputs.items() if one != name}
        return UnpairedBatch(
            inputs={**inputs, **{k: x for k, x in theirs.inputs.items() if k == name}},
            target=ours.target,
            valid={one: mask for one, mask in ours.valid.items() if one != name},
            index=ours.index,
            group=ours.group,
            cached={one: outputs for one, outputs in theirs.cached.items() if one == name},
            teacher_target=theirs.target,
        )


def unpaired_loader(
    student: Any, teacher: Any, modality: str, batch_size: int, **options: Any
) -> DataLoader[PairedSample]:
    """A DataLoader of `UnpairedBatch`: each row of the student once, beside random teacher rows.

    Losses that compare row by row refuse such a batch; `ucmkd`, `cmd` and task losses take it
    (`Loss.unpaired`). The target, index and group of a batch are the student's.

    Args:
        student: rows with the student's modality, a PairedDataset or what `as_paired` takes.
        teacher: rows with the teacher's, as many or few as there are; of other samples.
        modality: the teacher's, or the name of its cached outputs.
        batch_size: rows of each side in a batch.
        **options: of `paired_loader`: shuffle, seed, drop_last, num_workers, labelled_per_batch, …

    Raises:
        ValueError: the teacher's rows have neither inputs nor outputs of the modality; or as
            `paired_loader`.
    """
    loader = paired_loader(student, batch_size, **options)
    loader.collate_fn = UnpairedCollate(as_paired(teacher), modality)
    return loader
