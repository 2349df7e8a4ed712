"""Rows of an array in an HDF5 file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xdistill.data.files.hdf5 import OutsideError, open_dataset, open_hdf5


class HDF5Column(Sequence):
    """Rows of one array of a file, which each process opens when it first reads a row.

    Args:
        path: the file.
        name: name of the array.
        length: number of its rows.
        convert: makes a row's float32 tensor from the stored values.
        allow_outside: take values that the file keeps in another file.

    Raises:
        ValueError: a row cannot be read, or has NaN or infinity.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        length: int,
        convert: Callable[[np.ndarray], Tensor],
        *,
        allow_outside: bool = False,
    ):
        self.path, self.name, self.length, self.convert = path, name, length, convert
        self.allow_outside = allow_outside
        self._file: Any = None
        self._array: Any = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": None, "_array": None}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> Tensor:
        if not -self.length <= row < self.length:
            raise IndexError(row)
        try:
            if self._file is None:
                self._file = open_hdf5(self.path)
                self._array = open_dataset(self._file, self.name, allow_outside=self.allow_outside)
            stored = self._array[row % self.length]
        except ImportError:
            raise
        except OutsideError as error:
            raise ValueError(f"{self.path}: {error}") from error
        except Exception as error:  # h5py raises many kinds for a damaged file
            raise ValueError(
                f"{self.path} cannot be read in row {row} ({type(error).__name__}: {error}); it "
                "may be truncated: copy it again"
            ) from error
        if np.asarray(stored).dtype.kind not in "biuf":
            raise ValueError(
                f"{self.path} has values of {np.asarray(stored).dtype} in {self.name}, expected "
                "numbers"
            )
        values = self.convert(stored)
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"{self.path} has NaN or infinite values in row {row} of {self.name}")
        return values
