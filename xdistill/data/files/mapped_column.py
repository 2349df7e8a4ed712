"""Rows of a .npy file that is mapped into memory, not read."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.data.files.arrays import open_array


class MappedColumn(Sequence):
    """The rows of a .npy file as float32 of one shape; 8-bit values are divided by 255.

    Each process maps the file when it first reads a row.

    Args:
        path: an array [N, ...] whose rows have as many values as the shape.
        shape: of a row.
        source: as in `open_array`.

    Raises:
        ValueError: rows of another size. A row with NaN raises it when it is read.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], source: str):
        self.path, self.shape, self.source = path, shape, source
        self._array: np.ndarray | None = None
        array = open_array(path, source)
        if prod(array.shape[1:]) != prod(shape):
            raise ValueError(
                f"{path} has rows of shape {array.shape[1:]}, expected {shape} or another shape "
                "with as many values"
            )
        self.length = len(array)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_array": None}  # a worker maps the file itself

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> Float[Tensor, ...]:
        if self._array is None:
            array = open_array(self.path, self.source)
            if len(array) != self.length:
                raise ValueError(
                    f"{self.path} has {len(array)} rows now and had {self.length}; make the data "
                    "set again"
                )
            self._array = array
        if not -self.length <= row < self.length:
            raise IndexError(row)
        values = self._array[row]
        sample = torch.from_numpy(np.array(values, dtype=np.float32)).reshape(self.shape)
        if not bool(torch.isfinite(sample).all()):
            raise ValueError(f"{self.path} has NaN or infinite values in row {row}; copy it again")
        return sample / 255 if values.dtype == np.uint8 else sample
