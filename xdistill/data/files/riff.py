"""The length in bytes that a RIFF file (wav, AVI) promises."""

from __future__ import annotations

from pathlib import Path

UNKNOWN_BYTES = 0xFFFF0000
"""Lengths from here on stand for one that was not known when the header was written."""


def share_of_riff_lost(path: Path) -> float:
    """The share of a wav or AVI file that its header promises and that is not there.

    A header that was written before the length was known promises nothing.
    """
    with path.open("rb") as file:
        head = file.read(12)
    promised = int.from_bytes(head[4:8], "little") + 8
    if head[:4] != b"RIFF" or head[8:] not in (b"WAVE", b"AVI ") or promised > UNKNOWN_BYTES:
        return 0.0
    return max(0.0, 1 - path.stat().st_size / promised)
