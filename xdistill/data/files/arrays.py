"""Rows of a .npy file that is mapped into memory, not read."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def open_array(path: Path, source: str) -> np.ndarray:
    """A .npy array of numbers, memory-mapped.

    Args:
        path: the file.
        source: what the message on a missing file adds: the layout, and where it comes from.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is no such file, or truncated.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {source}")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # text, a pickle, a file that is cut
        raise ValueError(
            f"{path} cannot be read as a .npy array of numbers ({type(error).__name__}: {error}); "
            "it may be truncated: copy it again"
        ) from error
    if not isinstance(array, np.ndarray) or not array.ndim:
        raise ValueError(f"{path} holds no array with rows; copy it again")
    return array


def read_array(path: Path, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """A .npy array of numbers as float32, read into memory.

    Args:
        path: the file.
        shape: what is expected; None stands for any length, or any shape.

    Raises:
        ValueError: a damaged file, another shape, NaN or infinity.
    """
    try:
        stored = np.load(path, allow_pickle=False).astype(np.float32)
    except Exception as error:  # text, a pickle, a file that is cut
        raise ValueError(
            f"{path} cannot be read as a .npy array of numbers ({type(error).__name__}: {error}); "
            "copy it again"
        ) from error
    fits = shape is None or (
        stored.ndim == len(shape)
        and all(b in (None, a) for a, b in zip(stored.shape, shape, strict=True))
    )
    if not fits or not np.isfinite(stored).all():
        expected = "" if shape is None else f" of shape {shape}".replace("None", "any")
        raise ValueError(
            f"{path} holds an array of shape {stored.shape}, expected one{expected} without NaN or "
            "infinite values; copy it again"
        )
    return stored


class MappedColumn(Sequence):
    """The rows of a .npy file as float32 of one shape; 8-bit values are divided by 255.

    The file is mapped when a row is first read, in each process anew.

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
                f"{path} has rows of shape {array.shape[1:]}, expected {shape} or as many values"
            )
        self.length = len(array)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_array": None}  # a worker maps the file itself

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> Float[Tensor, ...]:
        if self._array is None:
            self._array = open_array(self.path, self.source)
        if not -self.length <= row < self.length:
            raise IndexError(row)
        values = self._array[row]
        sample = torch.from_numpy(np.array(values, dtype=np.float32)).reshape(self.shape)
        if not bool(torch.isfinite(sample).all()):
            raise ValueError(f"{self.path} has NaN or infinite values in row {row}; copy it again")
        return sample / 255 if values.dtype == np.uint8 else sample
