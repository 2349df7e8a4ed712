"""The one reader of .npy files: whole or memory-mapped, as numbers, features or labels."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

Shape = tuple[int | None, ...]
"""An expected shape; None is any length of 1 or more."""


def open_array(path: Path, source: str) -> np.ndarray:
    """An array of numbers with at least one axis, memory-mapped.

    Args:
        path: the file.
        source: appended to the message about a missing file: the layout, and where to get it.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is no .npy file of numbers, or truncated.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {source}")
    array = _load(path)
    if not array.ndim:
        raise ValueError(f"{path} holds a single number, expected an array of rows; copy it again")
    return array


def read_array(path: Path, *shapes: Shape, advice: str = "copy it again") -> np.ndarray:
    """An array of numbers as float32, read into memory.

    Args:
        path: the file.
        *shapes: the array has one of these; without any, every shape with a value in it is taken.
        advice: what the message about another shape, or about NaN, asks the user to do.

    Raises:
        ValueError: a damaged file, another shape, NaN or infinity.
    """
    array = _load(path)
    fits = any(_fits(array.shape, shape) for shape in shapes) if shapes else prod(array.shape) > 0
    if not fits:
        expected = " or ".join(map(_text, shapes)) or "at least one value"
        raise ValueError(
            f"{path} holds an array of shape {array.shape}, expected {expected}; {advice}"
        )
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is counted
        values = np.array(array, np.float32)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(
            f"{path}: {bad} of {values.size} values are NaN or infinite, expected none; {advice}"
        )
    return values


def read_features(path: Path, width: int | None = None) -> Float[Tensor, " d"]:
    """One vector of features; those of several windows, [T, D], are averaged.

    Args:
        path: the file.
        width: the D that is expected; None takes any.

    Raises:
        ValueError: a damaged file, another shape, NaN or infinity.
    """
    features = torch.from_numpy(read_array(path, (width,), (None, width)))
    return features.reshape(-1, features.shape[-1]).mean(dim=0)


def read_labels(path: Path, source: str) -> Int64[np.ndarray, " n"]:
    """Whole numbers, one for each row, of an array [N], [N, 1] or [1, N].

    Args:
        path: the file.
        source: as in `open_array`.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a damaged file, or numbers that are not whole.
    """
    stored = np.asarray(open_array(path, source)).reshape(-1)
    with np.errstate(invalid="ignore"):
        labels = stored.astype(np.int64)
    if not np.array_equal(labels, stored):
        raise ValueError(f"{path} holds {stored.dtype} values that are not whole; copy it again")
    return labels


def _load(path: Path) -> np.ndarray:
    """The array, memory-mapped unless it is empty."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # text, a pickle, an archive, a file that is cut
        raise ValueError(
            f"{path} cannot be read as a .npy array of numbers ({type(error).__name__}: {error}); "
            "it may be truncated: copy it again"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kind = getattr(array, "dtype", "an archive of arrays")
        raise ValueError(
            f"{path} cannot be read as a .npy array of numbers: it holds {kind}, expected real "
            "numbers; save it again as such"
        )
    if isinstance(array, np.memmap) and array.size:
        size, announced = path.stat().st_size, array.offset + array.nbytes
        if size != announced:
            raise ValueError(
                f"{path} has {size:,} bytes, but its header announces {array.shape} values of "
                f"{array.dtype} and so {announced:,}; copy it again"
            )
    return array


def _fits(shape: tuple[int, ...], expected: Shape) -> bool:
    return len(shape) == len(expected) and all(
        have > 0 if want is None else have == want
        for have, want in zip(shape, expected, strict=True)
    )


def _text(shape: Shape) -> str:
    return str(shape).replace("None", "any")
