"""Files that are written as a whole, under a name of one's own, and then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

ENDING = ".part"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write a file under, which becomes `path` when the context ends without an error.

    The name is no other process's, so two writers never meet in one file. On an error the old file
    stays and nothing else is left.

    Raises:
        OSError: the file cannot be written (full disk, no permission); names it.
    """
    partial = partial_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def partial_name(path: Path) -> Path:
    """A name beside the path that nobody else writes to."""
    return path.with_name(f".{path.name}.{uuid4().hex}{ENDING}")


def remove_partial(path: Path) -> None:
    """Remove what killed writers of the path left; only for who knows that none is at work."""
    for left in path.parent.glob(f".{path.name}.*{ENDING}"):
        left.unlink(missing_ok=True)


def cannot_write(path: Path, error: Exception) -> OSError:
    """An error that names the file, of the same number where the system gave one."""
    number = getattr(error, "errno", None)
    reason = os.strerror(number) if number else str(error)
    text = f"{path} cannot be written ({reason}); make room or choose another folder"
    if number is None:
        return OSError(text)
    named = type(error)(number, text) if isinstance(error, OSError) else OSError(number, text)
    return named
