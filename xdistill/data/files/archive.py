"""Zip archives, as torch and NumPy write them."""

from __future__ import annotations

import zipfile
from pathlib import Path


def check_zip(path: Path) -> None:
    """Refuse an archive whose content does not match its checksums, at which torch does not look.

    Raises:
        ValueError: the message has the name of the damaged part.
    """
    if not zipfile.is_zipfile(path):
        return  # torch's old format, which has no checksum
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"its part {damaged!r} does not match its checksum")
