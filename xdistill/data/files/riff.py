"""What the header of a RIFF file (wav, AVI) promises: its length, and the format of its samples."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import BinaryIO

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


def check_wav(path: Path) -> None:
    """Warn of a wav file whose header contradicts itself; a wav has no other checksum.

    Its blocks must fill the length that it states, and the bytes of a second be those of its
    samples.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        end = int.from_bytes(head[4:8], "little") + 8
        fault = _fault(file, end)
    if fault:
        warnings.warn(f"{path} has a header that contradicts itself: {fault}", stacklevel=4)


def _fault(file: BinaryIO, end: int) -> str | None:
    """What is wrong with the blocks of a wav file, from the first one on."""
    at, known = 12, []
    while at + 8 <= end:
        file.seek(at)
        block = file.read(24)
        name, size = block[:4], int.from_bytes(block[4:8], "little")
        if size > UNKNOWN_BYTES:
            return None
        known.append(name)
        if name == b"fmt " and (fault := _format_fault(block[8:])):
            return fault
        at += 8 + size + size % 2
    if abs(end - at) > 1:
        return f"its blocks end at byte {at:,}, and the file at {end:,}"
    return None if {b"fmt ", b"data"} <= set(known) else "it lacks a block of samples or format"


def _format_fault(block: bytes) -> str | None:
    """PCM, IEEE float and the extensible format state the size of a sample twice."""
    kind, channels, rate_hz, second, step, bits = (
        int.from_bytes(block[first:last], "little")
        for first, last in ((0, 2), (2, 4), (4, 8), (8, 12), (12, 14), (14, 16))
    )
    if kind not in (1, 3, 0xFFFE):
        return None  # compressed
    if second == rate_hz * step and step == channels * ((bits + 7) // 8):
        return None
    return (
        f"{channels} channels of {bits} bits at {rate_hz} Hz in {step} bytes a sample and "
        f"{second} a second"
    )
