"""Damaged files, and what a reader may make of them."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

LIMIT_S = 20


class Reader(NamedTuple):
    """One kind of file, and who reads it.

    Attributes:
        file: name of the file.
        write: writes a small file, or what surrounds it too, below a folder.
        read: reads what that folder holds.
        unnoticed: whether a value that differs may pass, since nothing in the file contradicts it.
            The kind of file has no checksum, or no promise of its length, that would tell.
        why: says so.
        cut: the same for a file that was cut.
        costly: a read takes more than some milliseconds.
    """

    file: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    unnoticed: Callable[[Any, Any], bool] = lambda found, expected: False
    why: str = "nothing may pass"
    cut: Callable[[Any, Any], bool] = lambda found, expected: False
    costly: bool = False


def outcome(reader: Reader, folder: Path) -> tuple[str, Any]:
    """ "read", "refused" or "counted" with the value; anything else is raised.

    Raises:
        AssertionError: an error of another kind, or one that does not name the file.
    """
    name = Path(reader.file).name
    with warnings.catch_warnings(record=True) as caught, _limit():
        warnings.simplefilter("always")
        try:
            found = flat(reader.read(folder))
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            assert name in text or Path(name).stem in text, f"the file is not named: {text[:300]}"
            return "refused", None
    if any(name in str(one.message) for one in caught):
        return "counted", found
    return "read", found


@contextmanager
def _limit() -> Iterator[None]:
    """A read that hangs fails."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"a read took more than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def flat(value: Any) -> Any:
    """A value made of arrays, lists and texts that can be compared."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, tuple | list):
        return [flat(one) for one in value]
    return value


def same(found: Any, expected: Any) -> bool:
    """Whether two values of `flat` are equal."""
    if isinstance(expected, np.ndarray):
        return (
            isinstance(found, np.ndarray)
            and found.shape == expected.shape
            and np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")
        )
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(same(one, other) for one, other in zip(found, expected, strict=True))
        )
    return bool(found == expected)


def same_shape(found: Any, expected: Any) -> bool:
    """Other values of the same shape, all finite."""
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same_shape, found, expected))
    if not isinstance(expected, np.ndarray):
        return type(found) is type(expected)
    return found.shape == expected.shape and (
        found.dtype.kind not in "fc" or bool(np.isfinite(found).all())
    )


def one_differs(found: Any, expected: Any) -> bool:
    """The same shape, all finite, and one value of each channel at most is another."""
    return same_shape(found, expected) and int((found != expected).sum()) <= 1


def cuts(content: bytes, count: int = 20) -> Iterator[bytes]:
    """The file cut at evenly spread places, and one byte before its end."""
    for at in range(1, count):
        yield content[: len(content) * at // count]
    yield content[:-1]


def flips(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """The file with one bit flipped, at random places, half of them in its first 300 bytes."""
    rng = np.random.default_rng(seed)
    for at in range(count):
        place = int(rng.integers(min(300, len(content)) if at % 2 else len(content)))
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        yield bytes(damaged)
