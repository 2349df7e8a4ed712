"""A check of every row before training, so that a bad one is found now and not hours later."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xdistill.data.any_dataset import as_paired
from xdistill.data.paired import PairedDataset
from xdistill.data.signal_size import SizeCheck
from xdistill.modalities import Modality, get_modality
from xdistill.registry import list_modalities


def audit(
    dataset: Any,
    *,
    required: Sequence[str] = (),
    optional: Sequence[str] = (),
    allow_missing: bool = False,
    name: str = "train",
) -> PairedDataset:
    """Reads every row once and returns a dataset that can be trained on.

    Each row is read with its transforms, and must have the axes of its modality and the shape and
    dtype of the other rows. A row with NaN or infinity in an optional modality (a teacher's) is
    marked as one without that modality, and a warning counts such rows; in a required modality (the
    student's) it is an error. Warnings also tell of rows that are zero throughout, and of a
    modality whose values look like another unit than its own (`Modality.plausible`). The state of
    the random generators is restored.

    Args:
        dataset: the rows to check: a PairedDataset, or anything that `as_paired` takes.
        required: modalities that every row must have.
        optional: modalities that a row may lack. For one in `dataset.cached`, the cached outputs
            are checked.
        allow_missing: rows may lack a required modality; a warning counts them.
        name: what messages call the dataset.

    Raises:
        ValueError: the dataset does not have a modality; a row cannot be read, or has another rank,
            dtype or shape; a required modality is missing, NaN or infinite in some rows (the
            message has their number and the first); no row has any of the optional modalities.
    """
    dataset = as_paired(dataset)
    for modality in (*required, *optional):
        if modality not in dataset.inputs and modality not in dataset.cached:
            raise ValueError(
                f"{name}: no modality {modality!r}; the dataset has "
                f"{sorted({*dataset.inputs, *dataset.cached})}"
            )
    lacking = {modality: _lacking(dataset, modality) for modality in required}
    for modality, absent in lacking.items():
        if absent and (not allow_missing or len(absent) == len(dataset)):
            raise ValueError(
                f"{name}: {_counted(dataset, absent)} have no {modality}, which every row needs; "
                "leave them out with subset()"
            )
    sizes = SizeCheck(name)
    bad = _read_all(dataset, (*required, *optional), name, sizes)
    for modality in required:
        if bad[modality]:
            raise ValueError(
                f"{name}: {_counted(dataset, bad[modality])} have NaN or infinity in {modality}; "
                "clean them or leave them out with subset()"
            )
    valid = dict(dataset.valid)
    for modality in optional:
        if bad[modality]:
            warnings.warn(
                f"{name}: {_counted(dataset, bad[modality])} have NaN or infinity in {modality}; "
                f"they are used without {modality}",
                stacklevel=2,
            )
            valid[modality] = _without(dataset, modality, bad[modality])
    audited = dataset.replace(valid=valid)
    _refuse_no_teacher(audited, optional, name)
    for modality, absent in lacking.items():
        if absent:
            warnings.warn(
                f"{name}: {_counted(dataset, absent)} have no {modality}; they are left out of the "
                "student's losses and metrics",
                stacklevel=2,
            )
    for message in sizes.messages(dataset):
        warnings.warn(message, stacklevel=2)
    return audited


def _lacking(dataset: PairedDataset, modality: str) -> list[int]:
    return [row for row in range(len(dataset)) if not dataset.has(modality, row)]


def _read_all(
    dataset: PairedDataset, modalities: Sequence[str], name: str, sizes: SizeCheck
) -> dict[str, list[int]]:
    """Checks every row; returns per modality the rows with NaN or infinity."""
    first: dict[str, Tensor] = {}
    bad: dict[str, list[int]] = {modality: [] for modality in modalities}
    known = {m: get_modality(m) for m in modalities if m in list_modalities()}
    with _same_randomness():
        for row in range(len(dataset)):
            for modality in bad:
                if not dataset.has(modality, row):
                    continue
                if modality not in dataset.inputs:
                    finite = _cached_is_finite(dataset, modality, row)
                else:
                    sample = _read(dataset, modality, row, name)
                    _check(dataset, row, sample, first.get(modality), known.get(modality), name)
                    first.setdefault(modality, sample)
                    finite = bool(torch.isfinite(sample).all())
                    if finite:
                        sizes.add(modality, row, sample)
                if not finite:
                    bad[modality].append(row)
    return bad


def _read(dataset: PairedDataset, modality: str, row: int, name: str) -> Tensor:
    try:
        return dataset.read(modality, row)
    except Exception as error:  # whatever the column or its transform raises
        raise ValueError(
            f"{name}: row {row} ({dataset.ids[row]}) cannot be read as {modality} "
            f"({type(error).__name__}: {error})"
        ) from error


def _check(
    dataset: PairedDataset,
    row: int,
    sample: Tensor,
    first: Tensor | None,
    modality: Modality | None,
    name: str,
) -> None:
    where = f"{name}: row {row} ({dataset.ids[row]})"
    if modality is not None:
        try:
            modality.check(sample[None], finite=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}, with a batch axis: {error}") from error
    if first is None:
        return
    if sample.shape != first.shape or sample.dtype != first.dtype:
        raise ValueError(
            f"{where} has shape {tuple(sample.shape)} and {sample.dtype}, the rows before it have "
            f"{tuple(first.shape)} and {first.dtype}; give the dataset a transform that makes "
            "them alike"
        )


def _cached_is_finite(dataset: PairedDataset, modality: str, row: int) -> bool:
    outputs = dataset.cached[modality]
    tensors = (outputs.embedding, outputs.logits, *outputs.hidden.values())
    return all(bool(torch.isfinite(t[row]).all()) for t in tensors if t is not None)


def _without(dataset: PairedDataset, modality: str, rows: list[int]) -> Tensor:
    mask = dataset.rows_with(modality).clone()
    mask[rows] = False
    return mask


def _refuse_no_teacher(dataset: PairedDataset, optional: Sequence[str], name: str) -> None:
    masks = [dataset.valid.get(modality) for modality in optional]
    if masks and all(mask is not None and not bool(mask.any()) for mask in masks):
        raise ValueError(
            f"{name}: no row has a usable {' or '.join(optional)}, so there is no teacher to learn "
            "from; check the files and the subject table"
        )


def _counted(dataset: PairedDataset, rows: list[int]) -> str:
    return f"{len(rows)} of {len(dataset)} rows (first: {dataset.ids[rows[0]]})"


@contextmanager
def _same_randomness() -> Iterator[None]:
    """Restores the random generators afterwards; random transforms may draw in between."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
