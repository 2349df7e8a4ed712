"""Arrays in HDF5 files that nobody vouches for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xdistill.data.files.extra import reader

DEFLATE_RATIO = 1032
"""The most that deflate, HDF5's usual compression, makes of a byte."""
DEEPEST_LINK = 16


ADVICE = (
    "which is not opened, since such a link may lead anywhere; copy the values into the file "
    "(h5py: `copy` with expand_external=True), or pass allow_outside=True"
)


class OutsideError(ValueError):
    """An array keeps its values in another file, which copying this one again does not change."""


def open_hdf5(path: Path) -> Any:
    """The opened file.

    Raises:
        ImportError: h5py is missing.
        OSError: the file is no HDF5 file.
    """
    return reader("h5py", path).File(path, "r")


def open_dataset(file: Any, name: str, *, allow_outside: bool = False) -> Any:
    """An array of an open file; only its shape is read yet.

    Args:
        file: the file.
        name: of the array.
        allow_outside: take arrays whose values are in another file too.

    Raises:
        KeyError: there is no such array.
        OutsideError: its values are in another file.
        ValueError: it announces more than the file can hold.
    """
    if not allow_outside and _leads_outside(file, name):
        raise OutsideError(f"{name!r} is a link to another file, {ADVICE}")
    array = file[name]
    if not hasattr(array, "shape"):
        raise KeyError(f"{name!r} is a group, expected an array")
    if not allow_outside and (array.is_virtual or array.external):
        raise OutsideError(f"{name!r} keeps its values in another file, {ADVICE}")
    size = Path(file.filename).stat().st_size
    if not allow_outside and array.size * array.dtype.itemsize > DEFLATE_RATIO * size:
        raise ValueError(
            f"{name!r} announces {array.shape} values of {array.dtype}, more than a file of "
            f"{size:,} bytes can hold"
        )
    return array


def _leads_outside(group: Any, name: str, depth: int = 0) -> bool:
    """Whether a link on the way to ``name`` leads to another file."""
    h5py = reader("h5py", group.file.filename)
    here = group.file if name.startswith("/") else group
    for part in name.strip("/").split("/"):
        link = here.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink) or depth > DEEPEST_LINK:
            return True
        if isinstance(link, h5py.SoftLink) and _leads_outside(here, link.path, depth + 1):
            return True
        here = here.get(part)
        if not isinstance(here, h5py.Group):
            return False
    return False
