"""Whether an MPEG program stream (ISO/IEC 13818-1, 2.5) was cut; it promises no length."""

from __future__ import annotations

import re
from pathlib import Path

from xdistill.data.files.extra import reader

PACK, END = b"\x00\x00\x01\xba", b"\x00\x00\x01\xb9"
TAIL_BYTES = 1 << 18
SLICE = re.compile(rb"\x00\x00\x01([\x01-\xaf])")
"""Begins a slice of a picture; the byte is its row of macroblocks (ISO/IEC 13818-2, 6.2.4)."""


def was_cut(path: Path) -> bool:
    """Whether the file ends within a packet, a picture or a frame of sound.

    A cut exactly between two of each cannot be noticed.
    """
    return ends_within_a_packet(path) or _ends_within_a_frame(path)


def _ends_within_a_frame(path: Path) -> bool:
    """Whether the last picture lacks its last slice, or the last sound is shorter than others."""
    rows: list[int] = []
    sounds: dict[int, list[int]] = {}
    with reader("av", path).open(str(path)) as film:
        for packet in film.demux():
            if packet.size and packet.stream.type == "video":
                found = SLICE.findall(bytes(packet))
                rows.append(max(one[0] for one in found) if found else 0)
            elif packet.size and packet.stream.type == "audio":
                sounds.setdefault(packet.stream.index, []).append(packet.size)
    # A frame of sound has a byte of padding where the rate demands it.
    short = any(sizes[-1] < min(sizes[:-1], default=0) - 1 for sizes in sounds.values())
    return short or (len(rows) > 1 and rows[-1] < max(rows[:-1]))


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
