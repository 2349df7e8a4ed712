"""Arrays that are written through memory: their room on the disk is taken beforehand."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

NO_SUCH_CALL = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def new_array(path: Path, dtype: Any, shape: Sequence[int]) -> np.memmap:
    """A new npy file that is mapped into memory, of zeros.

    The file system promises the room at once: without that a disk that fills up later ends the
    process with a signal, in place of an error.

    Raises:
        OSError: the disk has no room, or the file cannot be written.
    """
    mapped = np.lib.format.open_memmap(path, "w+", dtype, tuple(shape))
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, path.stat().st_size))
            except OSError as error:
                if error.errno not in NO_SUCH_CALL:
                    raise
    return mapped
