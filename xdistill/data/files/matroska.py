"""The length in bytes that a Matroska or WebM file promises (RFC 8794, 4 and 11.2.4)."""

from __future__ import annotations

from pathlib import Path

SEGMENT = 0x18538067
HEAD_BYTES = 4096


def share_of_bytes_lost(path: Path) -> float:
    """The share of the file's segment, which holds all frames, that is not there.

    A film that was written as a stream promises nothing.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    at = 0
    while at + 12 <= len(head):
        name, at = _number(head, at, keep_marker=True)
        size, at = _number(head, at)
        if name == SEGMENT:
            missing = at + size - path.stat().st_size
            return missing / size if size and 0 < missing < 1 << 48 else 0.0
        at += size
    return 0.0


def _number(head: bytes, at: int, *, keep_marker: bool = False) -> tuple[int, int]:
    """A number of variable length, and where it ends; its first set bit tells its bytes."""
    length = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + length])
    unknown = not keep_marker and value == (1 << 7 * length + 1) - 1
    if not keep_marker:
        value &= (1 << 7 * length) - 1
    return (1 << 62 if unknown else value), at + length
