"""What a column of a modality may hold, as tensors that a network takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

REFUSED = {
    "c": "complex numbers; pass the magnitude, or the real and imaginary part as two channels",
    "O": "objects; convert each row to an array of one shape, or let the column read it",
    "U": "text; a column of paths needs a reader (PairedDataset.from_table(readers=…))",
    "S": "text; a column of paths needs a reader (PairedDataset.from_table(readers=…))",
    "V": "a structured array; pass one of its fields",
    "M": "dates; convert them to numbers",
    "m": "durations; convert them to numbers",
}


def as_column(name: str, column: Any) -> Any:
    """The column as a dataset keeps it: an array in memory as one tensor, others as they are.

    float64 becomes float32, and the byte order the machine's.

    Raises:
        TypeError: values that are no numbers, or a column without length and rows.
    """
    if isinstance(column, Tensor):
        return as_row(column, name, "all rows")
    if hasattr(column, "to_numpy"):  # a pandas Series
        column = column.to_numpy()
    if isinstance(column, np.ndarray) and column.dtype == object and column.ndim == 1:
        return list(column)  # one array a row
    if isinstance(column, np.ndarray):
        lazy = isinstance(column, np.memmap)  # its values stay in the file
        return column if lazy else as_row(column, name, "all rows")
    if not hasattr(column, "__len__") or not hasattr(column, "__getitem__"):
        raise TypeError(
            f"inputs[{name!r}] is a {type(column).__name__}, expected a tensor, an array, or an "
            "object with len() and [row]; make it a list"
        )
    return column


def as_row(value: Any, name: str, row: str) -> Tensor:
    """A row that a column returned, as a tensor; float64 becomes float32.

    Raises:
        TypeError: values that are no numbers; names the modality and the row.
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise TypeError(_refusal(name, row, "c"))
        return value.float() if value.dtype == torch.float64 else value
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise TypeError(f"{name}: {row} is no array ({error})") from error
    kind = array.dtype.kind
    if kind in REFUSED:
        raise TypeError(_refusal(name, row, kind))
    if kind == "f" and array.dtype.itemsize > 4:
        array = array.astype(np.float32)
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    # torch neither takes negative strides nor promises to leave a read-only array alone.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _refusal(name: str, row: str, kind: str) -> str:
    return f"{name}: {row}: expected numbers, got {REFUSED[kind]}"
