"""Films whose frames say their number: the left half its rest, the right half its multiple."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

BASE, STEP, LOW = 20, 10, 20


def coded(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """The picture of frame ``number``, which is below 440: uint8 [h, w]."""
    width, height = size
    picture = np.empty((height, width), np.uint8)
    picture[:, : width // 2] = LOW + STEP * (number % BASE)
    picture[:, width // 2 :] = LOW + STEP * (number // BASE)
    return picture


def numbers(clip: np.ndarray) -> list[int]:
    """The numbers of frames [T, S, S]."""
    side = clip.shape[-1]
    left = clip[:, :, : side // 3].mean(axis=(1, 2))
    right = clip[:, :, -(side // 3) :].mean(axis=(1, 2))
    low, high = (np.rint((each - LOW) / STEP).astype(int) for each in (left, right))
    return (BASE * high + low).tolist()


def write_coded(
    path: Path,
    times_s: Sequence[float],
    codec: str = "mpeg4",
    *,
    rate: int | None = None,
    options: dict[str, str] | None = None,
    created: str | None = None,
    pixels: str = "yuv420p",
) -> None:
    """Writes frames 0, 1, … at these times; with ``rate`` they are at a constant rate."""
    import av

    with av.open(str(path), "w") as film:
        if created:
            film.metadata["creation_time"] = created
        track = film.add_stream(codec, rate=rate or 1000, options=options or {})
        track.width, track.height, track.pix_fmt = 64, 48, pixels
        for number, at in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(coded(number), format="gray").reformat(format=pixels)
            frame.pts = number if rate else round(at * 1000)
            frame.time_base = Fraction(1, rate or 1000)
            film.mux(track.encode(frame))
        film.mux(track.encode(None))
