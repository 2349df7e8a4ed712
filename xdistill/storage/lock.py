"""One run in a folder at a time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
WAIT_S = 8.0
"""Workers that read data end within 5 s of their killed run, which they had the lock from."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which the system releases when the process dies.

    The folder is made where there is none. The lock file in it is removed at the end; that of a
    killed process stays, and is locked by nobody.

    Raises:
        FileExistsError: the folder is a file, or another run holds the lock.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give a folder for the run")
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=WAIT_S, poll_interval=0.1)
    except Timeout as error:
        raise FileExistsError(
            f"another run is at work in {folder}; wait until it ends, or choose another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, PermissionError):
            raise
        warnings.warn(
            f"the file system of {folder} has no locks ({error}); start one run in it at a time",
            stacklevel=3,
        )
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove an open file
            (folder / LOCK).unlink()
        lock.release()
        if made:
            with suppress(OSError):  # nothing was written into it
                folder.rmdir()


def is_used(folder: Path) -> bool:
    """Whether a folder holds anything beside the lock."""
    return folder.is_dir() and any(name != LOCK for name in os.listdir(folder))
