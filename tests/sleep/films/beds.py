"""Films of a bed that tests write: a blanket with a texture, which breathing lifts by less than a
pixel, a sensor's noise, and what else a test wants to happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

Event = Callable[[float, np.ndarray], np.ndarray]
"""Changes the picture [h, w] at a time."""


class Bed(NamedTuple):
    """What a film shows.

    Attributes:
        breaths_s: when each breath begins; between them the chest rises and falls once.
        rise_px: how far the chest moves up and down.
        noise: of the sensor, in grey levels.
        event: changes each picture before the noise.
        turns_s: when the body turns, for two seconds, to lie differently.
        size: width and height.
        seed: of texture and noise.
    """

    breaths_s: Sequence[float] = ()
    rise_px: float = 0.5
    noise: float = 2.0
    event: Event = lambda _, picture: picture
    turns_s: Sequence[float] = ()
    size: tuple[int, int] = (320, 240)
    seed: int = 0


def regular(rate: float, length_s: float) -> list[float]:
    """When breaths begin, so many a minute."""
    return list(np.arange(-60 / rate, length_s + 120 / rate, 60 / rate))


def irregular(rate: float, length_s: float, spread: float, seed: int = 0) -> list[float]:
    """When breaths begin whose lengths vary by ``spread`` (standard deviation / mean)."""
    rng = np.random.default_rng(seed)
    lengths = 60 / rate * np.clip(1 + spread * rng.standard_normal(400), 0.4, 2.0)
    return list(np.cumsum(lengths)[np.cumsum(lengths) < length_s + 20] - 10)


def pictures(bed: Bed, times_s: Sequence[float]) -> Iterator[np.ndarray]:
    """The picture at each time: uint8 [h, w]."""
    rng = np.random.default_rng(bed.seed)
    width, height = bed.size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    room = np.full((height, width), 40, np.float32)
    room[height // 10 : -height // 10, width // 6 : -width // 6] = 80
    room += _texture(rng, bed.size, 6, 3)
    blanket = 120 + _texture(rng, bed.size, width / 40, 25)
    noises = [rng.standard_normal((height, width)).astype(np.float32) for _ in range(16)]
    poses = [_pose(bed, number) for number in range(len(bed.turns_s) + 1)]
    for at in times_s:
        before = int(np.searchsorted(bed.turns_s, at)) - 1
        turned = 1.0 if before < 0 else min(1.0, (at - bed.turns_s[before]) / 2)
        left, right = poses[max(before, 0)], poses[before + 1]
        pose = left + turned * (right - left)
        shape = (((x - pose[0]) / pose[2]) ** 2 + ((y - pose[1]) / pose[3]) ** 2) < 1
        chest = np.exp(
            -(((x - pose[0]) / (0.5 * pose[2])) ** 2)
            - ((y - pose[1] + 0.3 * pose[3]) / (0.4 * pose[3])) ** 2
        )
        lift = bed.rise_px * _breath(bed.breaths_s, at) * chest
        shift_x, shift_y = pose[0] - poses[0][0], pose[1] - poses[0][1]
        cover = cv2.remap(
            blanket,
            (x - shift_x).astype(np.float32),
            (y - shift_y + lift).astype(np.float32),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT,
        )
        picture = bed.event(at, np.where(shape, cover, room))
        grain = np.roll(noises[rng.integers(16)], rng.integers(height), axis=0)
        yield np.clip(np.rint(picture + bed.noise * grain), 0, 255).astype(np.uint8)


def write_bed(
    path: Path,
    bed: Bed,
    times_s: Sequence[float],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    rate: int | None = None,
) -> None:
    """Writes the film, each picture shown at its time.

    Args:
        path: the film.
        bed: what it shows.
        times_s: of the frames.
        codec: of the film.
        options: of the codec.
        pixels: their format.
        rate: a constant rate in frames a second, of which times are the frames' numbers; times are
            kept to the millisecond when None.
    """
    import av

    fast = {"preset": "ultrafast", "crf": "20"} if codec == "libx264" else {}
    with av.open(str(path), "w") as film:
        track = film.add_stream(codec, rate=rate or 1000, options={**fast, **(options or {})})
        track.width, track.height, track.pix_fmt = *bed.size, pixels
        for number, picture in enumerate(pictures(bed, times_s)):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=pixels)
            frame.pts = number if rate else round(times_s[number] * 1000)
            frame.time_base = Fraction(1, rate or 1000)
            film.mux(track.encode(frame))
        film.mux(track.encode(None))


def _breath(breaths_s: Sequence[float], at: float) -> float:
    if not len(breaths_s):
        return 0.0
    phase = np.interp(at, breaths_s, np.arange(len(breaths_s)))
    return float(0.5 - 0.5 * np.cos(2 * np.pi * phase))


def _pose(bed: Bed, number: int) -> np.ndarray:
    """Centre and half axes of the body."""
    width, height = bed.size
    aside = (0.0, 0.1, -0.1)[number % 3]
    return np.array([(0.5 + aside) * width, 0.52 * height, 0.16 * width, 0.36 * height])


def _texture(
    rng: np.random.Generator, size: tuple[int, int], scale: float, contrast: float
) -> np.ndarray:
    noise = rng.standard_normal((size[1], size[0])).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), scale)
    return contrast * smooth / smooth.std()
