"""The film of a simulated night: frames of any size and rate, and the file that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xdistill.extras import import_extra
from xdistill.sleep.simulated.options import NightOptions, Stretch
from xdistill.sleep.simulated.scene import Scene

RENDERED_PX = 48
"""Shorter side of the picture as it is drawn, which is then scaled up."""
CHUNK = 32
"""Frames that are drawn at once: the sleeper turns once in them at most."""
NOISE_FRAMES = 64
"""How many pictures of the sensor's noise there are, of which each frame has one."""
TIME_BASE = Fraction(1, 10_000)
"""Unit of a film's times: codecs and containers round to it."""
KEY_EVERY_S = 10
"""Between key frames."""
GREY = 128


class Frame(NamedTuple):
    """One frame: when it is shown, in seconds since the film's start, and its picture.

    The picture is that of ``yuv420p``, uint8 [height * 3 / 2, width].
    """

    time_s: float
    picture: np.ndarray


def frame_times(rng: np.random.Generator, options: NightOptions) -> np.ndarray:
    """When frames are shown on the film's clock, in seconds: float64 [n], from 0."""
    length_s = options.film_length_s * (1 + options.film_drift)
    number = np.arange(int(length_s * options.fps + 1e-6))
    if not options.variable_rate:
        return _without_gap(number / options.fps, options)
    times = (number + rng.uniform(-0.3, 0.3, len(number))) / options.fps
    times[0] = 0
    return _without_gap(times[(rng.random(len(times)) > 1 / 12) | (number == 0)], options)


def night_times(times_s: np.ndarray, options: NightOptions) -> np.ndarray:
    """Times of the film's clock on the night's, in seconds since the EEG's first sample."""
    return options.film_late_s + times_s / (1 + options.film_drift)


def _without_gap(times_s: np.ndarray, options: NightOptions) -> np.ndarray:
    gap = _within(night_times(times_s, options), options.gap_s)
    return times_s[~gap]


def _within(t: np.ndarray, stretch: Stretch | None) -> np.ndarray:
    if stretch is None:
        return np.zeros(len(t), bool)
    return (t >= stretch[0]) & (t < stretch[1])


def film(rng: np.random.Generator, scene: Scene, options: NightOptions) -> Iterator[Frame]:
    """Films the scene frame by frame."""
    cv2 = import_extra("cv2", "sleep", "a simulated film")
    times = frame_times(rng, options)
    night = night_times(times, options)
    dark, colour = _within(night, options.dark_s), _within(night, options.colour_s)
    size = options.width, options.height
    short = min(size)
    shape = (round(RENDERED_PX * size[1] / short), round(RENDERED_PX * size[0] / short))
    noise = rng.standard_normal((NOISE_FRAMES, size[1], size[0]), np.float32)
    noise *= scene.body.noise * 219 / 255
    chosen = rng.integers(NOISE_FRAMES, size=len(times))
    for first in range(0, len(times), CHUNK):
        chunk = slice(first, first + CHUNK)
        drawn = _drawn(scene, night[chunk], shape)
        drawn[dark[chunk]] = 2
        drawn = 16 + np.clip(drawn, 0, 255) * np.float32(219 / 255)  # the range of video
        for at, small in enumerate(drawn, first):
            picture = np.full((size[1] * 3 // 2, size[0]), GREY, np.uint8)
            large = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
            cv2.add(large, noise[chosen[at]], picture[: size[1]], dtype=cv2.CV_8U)
            if colour[at]:
                chroma = picture[size[1] :].reshape(2, size[1] // 2, size[0] // 2)
                chroma[0], chroma[1] = GREY - 20, GREY + 24
                chroma[:, :, size[0] // 4 :] = GREY  # a tint of the whole picture is no colour
            yield Frame(float(times[at]), picture)


def _drawn(scene: Scene, t: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Draws the frames at the times ``t`` [n], part by part where the sleeper turns twice."""
    between = scene.turns.start_s[1:]
    cuts = np.searchsorted(t, between[(between > t[0]) & (between <= t[-1])])
    return np.concatenate(
        [scene.frames(part, shape) for part in np.split(t, cuts) if len(part)], dtype=np.float32
    )


def write_film(
    path: Path, frames: Iterator[Frame], options: NightOptions, start: datetime | None
) -> None:
    """Encodes frames into a file at their times; ``start`` is what its metadata say, in UTC."""
    av = import_extra("av", "sleep", "a simulated film")
    with av.open(str(path), "w") as container:
        if start is not None:
            container.metadata["creation_time"] = start.astimezone(UTC).isoformat()
        rate = Fraction(options.fps).limit_denominator(1001)
        stream = container.add_stream(options.codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = options.width, options.height, "yuv420p"
        base = TIME_BASE if options.variable_rate or options.gap_s else 1 / rate
        stream.codec_context.time_base = base
        stream.codec_context.gop_size = max(1, round(KEY_EVERY_S * options.fps))
        stream.codec_context.options = _encoder_options(options)
        for each in frames:
            frame = av.VideoFrame.from_ndarray(each.picture, format="yuv420p")
            frame.pts, frame.time_base = round(each.time_s / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _encoder_options(options: NightOptions) -> dict[str, str]:
    if options.codec == "mpeg4":
        return {"qscale": "3", "flags": "+qscale", "global_quality": "354"}
    return {"preset": "ultrafast", "crf": "23"}


def stated_start(options: NightOptions) -> datetime | None:
    """What the film's metadata say of its start, as the clock on this machine's wall shows it.

    MP4 holds full seconds.
    """
    if not options.film_start:
        return None
    return options.start + timedelta(seconds=options.film_late_s + options.film_start_error_s)
