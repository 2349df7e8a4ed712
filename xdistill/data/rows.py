"""How several rows of a dataset are read at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int64
from torch import Tensor

from xdistill.types import PairedBatch

if TYPE_CHECKING:
    from xdistill.data.paired import PairedDataset

Column = Tensor | Sequence[Tensor] | Any
"""N tensors of one shape: a tensor [N, ...], or any lazy object with `len` and `[i] -> Tensor`."""


class Rows(Sequence):
    """Rows of a dataset, each a PairedSample that is read when it is asked for.

    `batch` reads all of them at once, which is faster where a column is a tensor.
    """

    def __init__(self, dataset: PairedDataset, rows: Sequence[int]):
        self.dataset = dataset
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place):
        return self.dataset[self.rows[place]]

    def batch(self) -> PairedBatch:
        """What `collate` makes of these rows one by one."""
        dataset, rows = self.dataset, torch.as_tensor(self.rows)
        inputs = {name: self._column(name, rows) for name in sorted(dataset.inputs)}
        return PairedBatch(
            inputs={name: column for name, column in inputs.items() if column is not None},
            target=dataset.target[rows],
            valid={name: mask[rows] for name, mask in sorted(dataset.valid.items())},
            index=rows,
            group=dataset.group[rows],
            cached={name: outputs.rows(rows) for name, outputs in sorted(dataset.cached.items())},
        )

    def filled(self) -> PairedBatch:
        """The batch, with zeros also for a modality that none of its rows has."""
        batch = self.batch()
        for name in set(self.dataset.inputs) - set(batch.inputs):
            if (blank := self.dataset.blank(name)) is not None:
                batch.inputs[name] = torch.stack([blank] * len(self))
        return batch

    def _column(self, name: str, rows: Int64[Tensor, " b"]) -> Tensor | None:
        """[B, ...] of a modality, zeros where a row lacks it; None where every row does."""
        dataset = self.dataset
        mask = dataset.valid.get(name)
        has = None if mask is None else mask[rows]
        if has is not None and not bool(has.any()):
            return None
        column = dataset.inputs[name]
        if not isinstance(column, Tensor) or name in dataset.transforms:
            present = [dataset.has(name, row) for row in self.rows]
            read = zip(self.rows, present, strict=True)
            return stack_rows(name, [dataset.read(name, row) if one else None for row, one in read])
        found = column[rows]
        if has is not None:
            found[~has] = 0
        return found


class RowView(Sequence):
    """Some rows of a lazy column, in any order."""

    def __init__(self, column: Any, rows: Int64[Tensor, " n"]):
        self.column = column
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row):
        return self.column[int(self.rows[row])]


def take(column: Column, rows: Int64[Tensor, " n"]) -> Column:
    """These rows of a column."""
    return column[rows] if isinstance(column, Tensor) else RowView(column, rows)


def stack_rows(name: str, rows: Sequence[Tensor | None]) -> Tensor:
    """Rows of a modality as a batch; a row that is None becomes zeros.

    Raises:
        ValueError: they have different shapes.
    """
    present = [row for row in rows if row is not None]
    shapes = {tuple(row.shape) for row in present}
    if len(shapes) > 1:
        raise ValueError(
            f"{name}: rows of one batch have shapes {sorted(shapes)}; give the dataset a transform "
            "that brings them to one shape"
        )
    blank = torch.zeros_like(present[0])
    return torch.stack([blank if row is None else row for row in rows])
