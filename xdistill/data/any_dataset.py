"""Any dataset of paired samples as a `PairedDataset`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from xdistill.data.from_rows import check_rows_of, sample_columns
from xdistill.data.paired import PairedDataset
from xdistill.types import PairedSample

Leaf = tuple[Any, Tensor]
"""A dataset that is no view of another, and the positions of the rows that are meant."""


def as_paired(dataset: Any) -> PairedDataset:
    """The rows of any dataset as a PairedDataset, numbered from 0.

    Args:
        dataset: a PairedDataset, which is returned itself; a `Subset` (so also `random_split`) or
            `ConcatDataset` of such; or a dataset with `len` and `[row] -> PairedSample`, whose rows
            are read once, now.

    Raises:
        TypeError: a dataset without length, or of other rows; says what to do.
        ValueError: datasets that are concatenated do not fit together, see `PairedDataset.concat`.
    """
    if isinstance(dataset, PairedDataset):
        return dataset
    parts = leaves(dataset)
    if len({id(leaf) for leaf, _ in parts}) == 1:
        return _of_leaf(parts[0][0]).subset(torch.cat([rows for _, rows in parts]))
    return PairedDataset.concat([_of_leaf(leaf).subset(rows) for leaf, rows in parts])


def leaves(dataset: Any) -> list[Leaf]:
    """The datasets that `Subset` and `ConcatDataset` look into, and which of their rows.

    Raises:
        TypeError: a dataset without length.
    """
    check_rows_of(dataset)
    if type(dataset) is Subset:
        return _chosen(leaves(dataset.dataset), torch.as_tensor(list(dataset.indices)).long())
    if type(dataset) is ConcatDataset:
        return [leaf for part in dataset.datasets for leaf in leaves(part)]
    return [(dataset, torch.arange(len(dataset)))]


def _chosen(parts: Sequence[Leaf], rows: Int64[Tensor, " m"]) -> list[Leaf]:
    """These rows of several datasets one after the other, in runs of one dataset."""
    owner = torch.cat([torch.full((len(own),), k) for k, (_, own) in enumerate(parts)])[rows]
    place = torch.cat([own for _, own in parts])[rows]
    cuts = (owner.diff() != 0).nonzero().flatten() + 1
    runs = zip(owner.tensor_split(cuts), place.tensor_split(cuts), strict=True)
    return [(parts[int(one[0])][0], own) for one, own in runs if len(own)]


def _of_leaf(dataset: Any) -> PairedDataset:
    if isinstance(dataset, PairedDataset):
        return dataset
    if not len(dataset):
        raise ValueError(f"the {type(dataset).__name__} has no rows; expected at least one")
    first = dataset[0]
    if isinstance(first, PairedSample):
        return PairedDataset(**sample_columns(dataset))
    raise TypeError(_advice(dataset, first))


def _advice(dataset: Any, row: Any) -> str:
    name = type(dataset).__name__
    if isinstance(row, Mapping):
        return (
            f"rows of {name} are dicts with the keys {sorted(map(str, row))}; say which of them "
            "are modalities and which is the class: PairedDataset.from_rows(dataset, "
            'inputs=("video", "eeg"), target="label")'
        )
    return (
        f"rows of {name} are of type {type(row).__name__}, expected PairedSample or dict; let "
        "__getitem__ return xd.PairedSample(inputs={…}, target=…, valid={}, index=row, group=…), "
        "or pass the columns to xd.PairedDataset"
    )
