"""The packets of an MPEG program stream (ISO/IEC 13818-1, 2.5), which promises no length."""

from __future__ import annotations

from pathlib import Path

PACK, END = b"\x00\x00\x01\xba", b"\x00\x00\x01\xb9"
TAIL_BYTES = 1 << 18


def ends_within_a_packet(path: Path) -> bool:
    """Whether the last pack of the file is incomplete, as in a file that was cut.

    A cut between two packets cannot be noticed.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    at = tail.rfind(PACK)
    if at < 0:
        return False  # no program stream, or packs longer than any that are written
    at += _pack_header_bytes(tail[at:])
    while at < len(tail):
        rest = tail[at:]
        if not rest.strip(b"\x00") or rest.startswith(END):
            return False  # zeros after the last packet
        if not rest.startswith(b"\x00\x00\x01") or len(rest) < 6:
            return True
        at += 6 + int.from_bytes(rest[4:6])
    return at > len(tail)


def _pack_header_bytes(pack: bytes) -> int:
    """Length of a pack's header: 12 bytes in MPEG-1; 14 and up to 7 of stuffing in MPEG-2."""
    if len(pack) < 14:
        return 14
    return 14 + (pack[13] & 7) if pack[4] >> 6 == 1 else 12
