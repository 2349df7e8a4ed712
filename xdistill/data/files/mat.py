"""One array of numbers in a MATLAB 5 file ("MAT-File Format", MathWorks, 2019, chapter 1).

scipy reads the values. The tags before them are looked at first: scipy takes a damaged one as an
address, which ends the process.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xdistill.data.files.extra import reader

HEAD_BYTES, TAG_BYTES, MATRIX_HEAD_BYTES = 128, 8, 4096
MATRIX, COMPRESSED = 14, 15
NUMBER_TYPES = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13)
NUMBER_CLASSES = range(6, 16)
CLASSES = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse array"}
COMPLEX = 1 << 11


class Variable(NamedTuple):
    """What the tags of a variable say: name, class, whether it is complex, type of its values."""

    name: str
    kind: int
    complex: bool
    type: int


def read_mat_array(path: Path, variable: str) -> np.ndarray:
    """An array of numbers of a MATLAB 5 file (save -v7 or -v6), as it is stored.

    Raises:
        ValueError: the file is damaged or of another version, or the variable is missing or no
            array of real numbers.
        ImportError: scipy is missing.
    """
    io = reader("scipy.io", path, "video")
    content = path.read_bytes()
    if content[124:128] in (b"\x00\x02IM", b"\x02\x00MI"):
        raise ValueError(
            f"{path} is a MATLAB 7.3 file, which is not read here; save it with -v7 in MATLAB"
        )
    try:
        found = {one.name: one for one in _variables(content)}
        if variable in found:
            _check(found[variable])
            array = io.loadmat(path, variable_names=[variable])[variable]
    except Exception as error:  # scipy and zlib raise many kinds for a damaged file
        advice = "" if type(error) is TypeError else "; it may be truncated: copy it again"
        raise ValueError(
            f"{path} cannot be read as a MATLAB 5 file ({type(error).__name__}: {error}){advice}"
        ) from error
    if variable not in found:
        raise ValueError(f"{path} holds {sorted(found)}, expected the variable {variable!r}")
    return array


def _check(variable: Variable) -> None:
    """Refuse what is no array of real numbers, or has values of no known type."""
    kind = "an array of complex numbers" if variable.complex else CLASSES.get(variable.kind)
    if kind is not None:
        raise TypeError(f"{variable.name} is {kind}, expected an array of real numbers")
    if variable.kind not in NUMBER_CLASSES or variable.type not in NUMBER_TYPES:
        raise ValueError(f"{variable.name} has values of the unknown type {variable.type}")


def _variables(content: bytes) -> Iterator[Variable]:
    order = {b"IM": "little", b"MI": "big"}.get(content[126:128])
    if order is None:
        raise ValueError("it does not begin as one")
    at = HEAD_BYTES
    while at + TAG_BYTES <= len(content):
        kind, first, size, _ = _tag(content, at, order)
        if first + size > len(content):
            raise ValueError(f"a variable ends at byte {first + size:,} of {len(content):,}")
        body = content[at : first + min(size, MATRIX_HEAD_BYTES)]
        if kind == COMPRESSED:
            unpacked = zlib.decompressobj()
            body = unpacked.decompress(content[first : first + size], MATRIX_HEAD_BYTES)
        elif kind != MATRIX:
            raise ValueError(f"a variable of the unknown kind {kind}")
        yield _variable(body, order)
        at = first + size


def _variable(body: bytes, order: str) -> Variable:
    """The variable whose tag is at the beginning of these bytes."""
    at, parts = TAG_BYTES, []
    while len(parts) < 4 and at + TAG_BYTES <= len(body):
        kind, first, size, at = _tag(body, at, order)
        parts.append((kind, body[first : first + size]))
    if len(parts) < 3:
        raise ValueError("a variable has no name")
    flags = int.from_bytes(parts[0][1][:4], order)  # pyright: ignore[reportArgumentType]
    name = parts[2][1].decode("latin-1")
    return Variable(name, flags & 255, bool(flags & COMPLEX), parts[3][0] if parts[3:] else 0)


def _tag(content: bytes, at: int, order: str) -> tuple[int, int, int, int]:
    """Kind, first byte and number of bytes of an element, and where the next one begins."""
    kind, size = (
        int.from_bytes(content[first : first + 4], order)  # pyright: ignore[reportArgumentType]
        for first in (at, at + 4)
    )
    if kind >> 16:  # up to four bytes, within the tag
        return kind & 0xFFFF, at + 4, kind >> 16, at + TAG_BYTES
    return kind, at + TAG_BYTES, size, at + TAG_BYTES + (size + 7) // 8 * 8
