"""What tells one large file from another without reading all of it."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

PART = 1 << 20
"""Bytes at the beginning and the end of a file that tell it from others of its size."""


def fingerprint(path: Path) -> str:
    """A checksum of a file's size, beginning and end.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    hasher = blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        hasher.update(file.read(PART))
        file.seek(max(0, size - PART))
        hasher.update(file.read(PART))
    return hasher.hexdigest()
