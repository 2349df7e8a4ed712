"""The rows behind a DataLoader, checked before training, and bad ones marked for its duration."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from xdistill.data.any_dataset import as_paired, leaves
from xdistill.data.audit import audit
from xdistill.data.collate import collate
from xdistill.data.paired import PairedDataset

Given = list[tuple[PairedDataset, dict[str, Tensor]]]
"""Datasets whose masks were changed, each with those that it had."""


def check_loader(
    loader: DataLoader,
    student: str,
    teachers: Callable[[PairedDataset], Sequence[str]],
    given: Given,
    name: str,
) -> PairedDataset | None:
    """Audits the rows of a loader and marks bad teacher rows in the datasets behind it.

    Args:
        loader: what will be trained or validated on.
        student: the modality that is required; rows without it are counted in a warning.
        teachers: from the dataset to the optional modalities.
        given: gets each dataset that is changed with the masks that it had.
        name: what messages call the loader.

    Returns:
        The rows; None, with a warning, where they cannot be read one by one.

    Raises:
        TypeError: rows that are no paired samples.
        ValueError: rows that `audit` refuses, an index that repeats, or bad teacher rows in a
            dataset that cannot be marked.
    """
    paired = _rows_of(loader, name)
    if paired is None:
        return None
    optional = teachers(paired)
    checked = audit(paired, required=(student,), optional=optional, allow_missing=True, name=name)
    start = 0
    for leaf, rows in leaves(loader.dataset):
        end = start + len(rows)
        for modality, mask in checked.valid.items():
            lost = rows[(paired.rows_with(modality) & ~mask)[start:end]]
            if len(lost):
                _mark(leaf, modality, lost, given, name)
        start = end
    return paired


def refuse_repeated_index(dataset: Any, name: str) -> None:
    """Refuse rows that a loss with a memory would take for one another.

    Raises:
        ValueError: two rows have one index.
    """
    seen: dict[int, tuple[int, int]] = {}
    for leaf, rows in leaves(dataset):
        for row in rows.tolist():
            index = row if isinstance(leaf, PairedDataset) else leaf[row].index
            if seen.setdefault(index, (id(leaf), row)) != (id(leaf), row):
                raise ValueError(
                    f"{name}: two rows have index {index}, so a loss with a memory takes them for "
                    "one; give the dataset to xd.paired_loader, which numbers its rows anew, or "
                    "join datasets with PairedDataset.concat"
                )


def check_same_classes(train: PairedDataset, val: PairedDataset) -> None:
    """Refuse two datasets in which one number stands for two classes.

    Raises:
        ValueError: they name or order their classes differently.
    """
    shorter = min(len(train.classes), len(val.classes))
    if train.classes[:shorter] != val.classes[:shorter]:
        raise ValueError(
            f"train has the classes {train.classes} and val {val.classes}, so that a number stands "
            "for two of them; pass the same classes=(…) to both"
        )


def _rows_of(loader: DataLoader, name: str) -> PairedDataset | None:
    dataset: Any = loader.dataset
    if isinstance(dataset, PairedDataset):
        return dataset
    own_batches = loader.collate_fn not in (collate, default_collate)
    try:
        paired = as_paired(dataset)
    except TypeError as error:
        if not own_batches and not isinstance(dataset, IterableDataset):
            raise
        warnings.warn(
            f"{name}: the rows are not checked before training, because {error}; pass "
            "check_data=False where that is meant",
            stacklevel=2,
        )
        return None
    if name == "train":
        refuse_repeated_index(dataset, name)
    return paired


def _mark(leaf: Any, modality: str, rows: Tensor, given: Given, name: str) -> None:
    if not isinstance(leaf, PairedDataset):
        raise ValueError(
            f"{name}: {len(rows)} rows have NaN or infinity in {modality}, and rows of a "
            f"{type(leaf).__name__} cannot be marked; give xd.paired_loader what xd.audit(dataset, "
            f"optional=({modality!r},)) returns, or clean them"
        )
    given.append((leaf, leaf.valid))
    mask = leaf.rows_with(modality).clone()
    mask[rows] = False
    leaf.valid = {**leaf.valid, modality: mask}
