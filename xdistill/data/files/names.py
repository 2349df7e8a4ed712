"""Names of files: their order, suffixes in any case, and names that would leave a folder."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath, PureWindowsPath

LARGEST_NUMBER = 18
"""Digits of a number in a name; longer runs of digits are compared as text."""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts numbers in names by their value: image_2 before image_10."""
    parts = re.split(rf"(\d{{1,{LARGEST_NUMBER}}})", name)
    return tuple((1, int(part), part) if at % 2 else (0, 0, part) for at, part in enumerate(parts))


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Files in the natural order of their names, without hidden ones."""
    shown = (path for path in paths if not path.name.startswith("."))
    return sorted(shown, key=lambda path: natural_key(path.name))


def has_suffix(path: Path, suffixes: Sequence[str]) -> bool:
    """Whether a file has one of these suffixes, in upper or lower case."""
    return path.suffix.lower() in suffixes


def find_file(
    folder: Path,
    name: str,
    suffixes: Sequence[str],
    *,
    folders: bool = False,
    allow_outside: bool = False,
) -> Path | None:
    """The first ``name + suffix`` that the folder has; a suffix may be in upper case.

    With ``folders`` also one that is a folder: frames may be named like the film they are from.

    Raises:
        ValueError: the name leads out of the folder.
    """
    stem = inside(folder, name, allow_outside=allow_outside)
    files = (stem.parent / (stem.name + s) for suffix in suffixes for s in (suffix, suffix.upper()))
    return next((path for path in files if path.is_file() or (folders and path.is_dir())), None)


def check_names(names: Sequence[str], where: object) -> None:
    """Refuse rows of a list whose names are empty, or occur twice.

    Raises:
        ValueError: the message has the name.
    """
    for name, count in Counter(names).items():
        if count > 1 or not name.strip():
            raise ValueError(
                f"{where} names {name!r} more than once; remove the other lines"
                if count > 1
                else f"{where} has a row without a name; correct the list"
            )


def warn_of_gaps(paths: Sequence[Path]) -> None:
    """Warn where the numbers that end the names of frames leave some out, or repeat one."""
    matches = [re.fullmatch(r"(.*?)(\d{1,18})", path.stem) for path in paths]
    found = [(match[1], int(match[2])) for match in matches if match]
    if len(found) < len(paths) or len({prefix for prefix, _ in found}) > 1:
        return  # names that are not one numbered series
    steps = [after - before for (_, before), (_, after) in pairwise(found)]
    if len(set(steps)) <= 1 and 0 not in steps:
        return
    if 0 in steps:
        at, what = steps.index(0), "share a number"
    else:
        usual = Counter(steps).most_common(1)[0][0]
        at = next(at for at, step in enumerate(steps) if step != usual)
        what = f"are {steps[at]} apart, and others {usual}"
    warnings.warn(
        f"{paths[0].parent} has frames whose numbers {what} (first: {paths[at].name} and "
        f"{paths[at + 1].name}); if frames are missing, copy the clip again: they are taken to be "
        "evenly spread in time",
        stacklevel=4,
    )


def inside(folder: Path, *names: str, allow_outside: bool = False) -> Path:
    """``folder / names``, refused where a name from a table or a list leads out of the folder.

    Links within the folder are followed: the user made them, not the table.

    Args:
        folder: the root of the data, or a folder in it.
        *names: parts of the path below it.
        allow_outside: take absolute names and ``..`` too.

    Raises:
        ValueError: an empty name, an absolute one, one with ``..``, or with a zero byte.
    """
    for name in names:
        kinds = (PurePosixPath(name), PureWindowsPath(name))
        outside = any(kind.anchor or ".." in kind.parts for kind in kinds)
        if not name.strip() or "\0" in name or (outside and not allow_outside):
            raise ValueError(
                f"the name {name!r} does not lead to a file below {folder}; expected a name "
                "without '..' that is neither empty nor absolute: correct the table or list"
            )
    return folder.joinpath(*names)
