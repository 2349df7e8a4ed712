"""Films that tests write: each frame is a flat grey that tells its number."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

RATE_HZ = 16_000


def write_film(
    path: Path,
    codec: str = "mpeg4",
    *,
    greys: Sequence[int] = tuple(range(10, 250, 5)),
    times_ms: Sequence[int] | None = None,
    size: tuple[int, int] = (64, 48),
    sound_at_s: float | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Writes a film of flat frames, at 25 frames a second or at given times.

    Args:
        path: the film.
        codec: of the pictures.
        greys: of each frame.
        times_ms: when each frame is shown.
        size: width and height.
        sound_at_s: when a tone of one second begins; None for no sound.
        options: of the codec.
    """
    import av

    stamps = times_ms or range(len(greys))
    with av.open(str(path), "w") as film:
        rate = 1000 if times_ms else 25
        track = film.add_stream(codec, rate=rate, options=options or {})
        track.width, track.height, track.pix_fmt = *size, "yuv420p"
        sound = None
        if sound_at_s is not None:
            sound = film.add_stream("mp2" if path.suffix == ".mpg" else "aac", rate=RATE_HZ)
        packets = []
        for grey, at in zip(greys, stamps, strict=True):
            pixels = np.full((size[1], size[0], 3), grey, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = at
            frame.time_base = Fraction(1, rate)
            packets += track.encode(frame)
        packets += track.encode(None)
        if sound is not None:
            t = np.arange(RATE_HZ) / RATE_HZ
            tone = (0.4 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)[None]
            kind = "fltp" if sound.codec.name == "aac" else "s16p"
            if kind == "s16p":
                tone = (tone * 32767).astype(np.int16)
            heard = av.AudioFrame.from_ndarray(tone, format=kind, layout="mono")
            heard.sample_rate, heard.pts = RATE_HZ, round(sound_at_s * RATE_HZ)
            packets += [*sound.encode(heard), *sound.encode(None)]
        packets.sort(key=lambda packet: float((packet.dts or 0) * packet.time_base))
        for packet in packets:
            film.mux(packet)


def rotate(path: Path, degrees: int) -> None:
    """Writes into an MP4 file that its pictures are shown rotated clockwise by 90 or 180."""
    content = bytearray(path.read_bytes())
    one = 1 << 16
    cos, sin = {90: (0, one), 180: (-one, 0), 270: (0, -one), 45: (46341, 46341)}[degrees]
    at = content.index(b"tkhd") + 4 + 40  # after the version, dates and layers
    content[at : at + 36] = struct.pack(">9i", cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(content))
