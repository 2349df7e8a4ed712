"""The sound of a film, at the time at which it is heard."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from xdistill.data.files.extra import reader
from xdistill.data.files.film import Promise, end_of_packet_s, share_lost
from xdistill.data.files.riff import share_of_riff_lost

JITTER_S = 0.05
"""Containers round the times of sound. A jump of more than this is a gap."""
LONGEST_GAP_S = 24 * 3600.0


def read_film_sound(path: Path) -> tuple[np.ndarray, int, float]:
    """Samples from the film's beginning on, their rate, and the share that is missing.

    Raises:
        ValueError: the film has no sound, or its times jump back.
    """
    av = reader("av", path)
    with av.open(str(path)) as film:
        if not film.streams.audio:
            raise ValueError("the film has no sound")
        track = film.streams.audio[0]
        rate_hz, start_s = int(track.rate), (film.start_time or 0) / 1e6
        parts, came, damaged, last_s = [], 0, 0, 0.0
        # Channels stay apart here and are averaged: the resampler's own mix may exceed 1.
        planar = av.AudioResampler(format="fltp")
        for packet in film.demux():
            last_s = max(last_s, end_of_packet_s(packet))
            if packet.stream.index != track.index:
                continue
            damaged += packet.is_corrupt
            came += bool(packet.size)
            for frame in packet.decode():
                at_s = None if frame.time is None else frame.time - start_s
                for part in planar.resample(frame):
                    parts.append((at_s, part.to_ndarray().mean(axis=0)))
                    at_s = None
        samples = join(parts, rate_hz)
        lost = _lost(path, film, track, last_s, len(samples) / rate_hz)
        return samples, rate_hz, max(damaged / max(1, came), lost)


def _lost(path: Path, film: Any, track: Any, last_s: float, sound_s: float) -> float:
    """The share that is missing: of the track in MP4 and MOV, elsewhere of the whole file."""
    form, start = film.format.name, film.start_time or 0
    if form == "avi":
        return share_of_riff_lost(path)
    if form.startswith("mov") and track.duration:
        end = float((track.start_time or 0) + track.duration) * track.time_base * 1_000_000
        return share_lost(path, Promise(0, round(end) - start, 0, form), 1, sound_s)
    return share_lost(path, Promise(0, film.duration, start, form), 1, last_s)


def join(parts: Iterable[tuple[float | None, np.ndarray]], rate_hz: int) -> np.ndarray:
    """Pieces of sound [t] at their times, with silence where there is none.

    Args:
        parts: when each piece is heard, in seconds, None directly after the one before; and its
            samples.
        rate_hz: samples a second.

    Raises:
        ValueError: no piece, or one that is heard before the end of the one before.
    """
    whole: list[np.ndarray] = []
    length = 0
    for at_s, samples in parts:
        late = 0 if at_s is None else round(at_s * rate_hz) - length
        if late < -JITTER_S * rate_hz and length:
            raise ValueError(
                f"its sound jumps back to {at_s:g} s after {length / rate_hz:g} s; encode it again"
            )
        if late > LONGEST_GAP_S * rate_hz:
            raise ValueError(f"its sound has a gap of {late / rate_hz:g} s; encode it again")
        if late > JITTER_S * rate_hz or (late > 0 and not length):
            whole.append(np.zeros(late, np.float32))
            length += late
        whole.append(samples)
        length += len(samples)
    if not whole:
        raise ValueError("its track of sound is empty")
    return np.concatenate(whole).astype(np.float32)
