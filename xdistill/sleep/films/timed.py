"""Frames with the time at which each is shown, and those of a film."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xdistill.data.files.extra import reader
from xdistill.sleep.films.facts import index_of, naming, seconds
from xdistill.sleep.films.picture import Picture, picture_of_frame

MENDED_S = 10.0
"""After damage, a picture without a key frame is taken to be whole again after so long."""


class TimedFrame(NamedTuple):
    """A frame that is shown from a time on.

    Attributes:
        time_s: since the recording's first frame.
        picture: makes the picture, when it is needed; None where the frame is damaged.
    """

    time_s: float
    picture: Callable[[], Picture] | None


@dataclass
class Losses:
    """What went wrong while a film was read."""

    packets: int = 0
    """That could not be decoded."""
    frames: int = 0
    """That are damaged, or are predicted from such a frame."""
    disordered: int = 0
    """Frames whose time is not after that of the frame before."""


def film_frames(path: Path, losses: Losses, *, threads: int = 0) -> Iterator[TimedFrame]:
    """The frames of a film in the order of their times, decoded once.

    Frames between a damaged one and the next key frame are predicted from it; they are passed on
    as damaged, for ten seconds at most.

    Args:
        path: the film.
        losses: what went wrong is counted here.
        threads: of the decoder; 0 takes as many as there are cores.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no film, or has no frame.
    """
    index = index_of(path)
    with naming(path):
        film = reader("av", path, "sleep").open(str(path))
    with film:
        track = film.streams.video[0]
        track.thread_type = "AUTO"
        track.codec_context.thread_count = threads
        clock = _Clock(film, track, index.times[0] if index.exact else None, seconds(index, track))
        last_s, damaged_s = -np.inf, -np.inf
        for frame in _decoded(film, track, path, losses):
            if frame is None:
                damaged_s = max(last_s, 0.0)
                yield TimedFrame(damaged_s, None)
                continue
            at_s = clock(frame, last_s)
            if at_s <= last_s:
                losses.disordered += 1
                continue
            last_s = at_s
            if frame.is_corrupt:
                damaged_s = at_s
            elif frame.key_frame or at_s - damaged_s > MENDED_S:
                damaged_s = -np.inf
            if damaged_s >= 0:
                losses.frames += 1
                yield TimedFrame(at_s, None)
            else:
                yield TimedFrame(at_s, partial(picture_of_frame, frame))


def _decoded(film: Any, track: Any, path: Path, losses: Losses) -> Iterator[Any]:
    """Decoded frames, and None where a packet could not be decoded."""
    av = reader("av", path, "sleep")
    packets = film.demux(track)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:  # the container is damaged here; what came before is kept
            losses.packets += 1
            yield None
            return
        if packet.is_corrupt and packet.size:
            losses.packets += 1
            yield None
            continue
        try:
            yield from packet.decode()
        except av.FFmpegError:
            losses.packets += 1
            yield None


class _Clock:
    """When a decoded frame is shown, in seconds since the first.

    Where the packets have no times of their own, or wrong ones as AVI with frames predicted from
    later ones, it follows the decoder's order.
    """

    def __init__(self, film: Any, track: Any, first: int | None, shown_s: np.ndarray) -> None:
        self.unit_s = float(track.time_base or 0)
        self.first = first
        self.avi = film.format.name == "avi"
        self.step_s = float(np.median(np.diff(shown_s)))

    def __call__(self, frame: Any, last_s: float) -> float:
        stamp = frame.dts if self.avi else frame.pts
        if stamp is None or not self.unit_s:
            return 0.0 if last_s < 0 else last_s + self.step_s
        if self.first is None or (self.avi and last_s < 0):
            self.first = int(stamp)
        return (stamp - self.first) * self.unit_s
