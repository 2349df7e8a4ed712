"""A night's epochs of 30 s from a film or a camera: clip, the body's signals, numbers, marks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xdistill.data.files.film import UNKNOWN_SHARE, check_lost
from xdistill.sleep.body.features import BodyFeatures
from xdistill.sleep.body.tracker import BodyTracker
from xdistill.sleep.films.camera import camera_frames
from xdistill.sleep.films.facts import FilmFacts, film_facts
from xdistill.sleep.films.pictures import EpochPictures, NoPictures, pictures_of_epochs
from xdistill.sleep.films.scene import SceneWatch
from xdistill.sleep.films.timed import Losses, film_frames
from xdistill.sleep.grid import Grid
from xdistill.sleep.marks import Mark
from xdistill.sleep.video_options import VideoOptions

WHOLE = Grid()
"""All epochs that end within the recording, from its beginning."""
SLOWEST_HZ = 2.0
"""Frames a second that breathing can be told from."""


class VideoEpoch(NamedTuple):
    """What the video shows in an epoch.

    Attributes:
        number: of the epoch in the grid.
        clip: [T, S, S] uint8, the frames shown at (2i + 1) / 2T of the epoch; None without video.
        body: [C, L] float32, the body's signals as `VideoOptions.body_channels` names them, in
            thousandths of the picture's contrast; None without video. Each sample is of the frame
            shown then; in gaps and steps of light it is 0.
        features: the body's numbers; None without video.
        marks: what is to be known of it.
    """

    number: int
    clip: np.ndarray | None
    body: np.ndarray | None
    features: BodyFeatures | None
    marks: frozenset[Mark]


def film_epochs(
    path: str | Path,
    options: VideoOptions,
    grid: Grid = WHOLE,
    *,
    progress: Callable[[float], None] | None = None,
    max_lost: float = UNKNOWN_SHARE,
    threads: int = 0,
) -> Iterator[VideoEpoch]:
    """Every epoch of the grid once, in order; the film is decoded once, in constant memory.

    An epoch's values follow from its own frames and earlier ones alone. One without a frame is
    marked, as are gaps and damage, of which a warning tells at the end.

    Args:
        path: MP4, MKV, AVI or another film that PyAV reads.
        options: what becomes of its frames.
        grid: the epochs on the film's clock; without a count, all that end within the film.
        progress: is told the share that is done after each epoch.
        max_lost: the share of the promised film that may be missing; by default a cut film is read
            as far as it goes, with a warning.
        threads: of the decoder; 0 takes as many as there are cores.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no film, has no frame, or more than ``max_lost`` is missing.
    """
    facts = film_facts(path)
    check_lost(facts.path, facts.lost, max_lost)
    if facts.rate_hz < SLOWEST_HZ:
        warnings.warn(
            f"{path} has {facts.rate_hz:.2g} frames a second; breathing and movement need "
            f"{SLOWEST_HZ:g} or more, and 10 are enough",
            stacklevel=2,
        )
    return _film_epochs(facts, options, grid, progress, threads)


def camera_epochs(
    source: int | Iterable[tuple[float, np.ndarray]], options: VideoOptions, grid: Grid = WHOLE
) -> Iterator[VideoEpoch]:
    """Every epoch as soon as it is over; the same values as from a film of the same frames.

    Args:
        source: the number of a camera for OpenCV, or pairs of a time in seconds and a frame, uint8
            [h, w] or [h, w, 3] (blue, green, red).
        options: what becomes of the frames.
        grid: the epochs on the clock that begins with the first frame.

    Raises:
        OSError: the camera cannot be opened, or delivers no frame.
        ValueError: a frame of another kind, or one whose time is not after the one before.
    """
    pictures = pictures_of_epochs(camera_frames(source), options, grid)
    yield from _with_body(pictures, options)


def _film_epochs(
    facts: FilmFacts,
    options: VideoOptions,
    grid: Grid,
    progress: Callable[[float], None] | None,
    threads: int,
) -> Iterator[VideoEpoch]:
    losses = Losses()
    frames = film_frames(facts.path, losses, threads=threads)
    pictures = pictures_of_epochs(frames, options, grid, facts.duration_s)
    count = grid.count or max(1, grid.epoch_at(facts.duration_s))
    empty = done = 0
    for epoch in _with_body(pictures, options):
        empty += Mark.NO_VIDEO in epoch.marks
        done += 1
        yield epoch
        if progress is not None:
            progress(min(1.0, done / count))
    _tell(facts, losses, empty, done)


def _with_body(
    pictures: Iterable[EpochPictures | NoPictures], options: VideoOptions
) -> Iterator[VideoEpoch]:
    body, scene = BodyTracker(options.body_rate_hz, options.grid), SceneWatch()
    for epoch in pictures:
        if isinstance(epoch, NoPictures):
            body.forget()
            yield VideoEpoch(epoch.number, None, None, None, epoch.marks)
            continue
        marks = epoch.marks | scene(epoch.scene, epoch.colours)
        found = body(epoch.body, epoch.fresh, epoch.missing, Mark.CAMERA_MOVED in marks)
        if found.light_step:
            marks |= {Mark.LIGHT_STEP}
        yield VideoEpoch(epoch.number, epoch.clip, found.signals, found.features, marks)


def _tell(facts: FilmFacts, losses: Losses, empty: int, count: int) -> None:
    """One warning of what is wrong with the film."""
    parts = []
    if empty:
        parts.append(
            f"{empty} of {count} epochs have no picture (it lasts {facts.duration_s:.1f} s)"
        )
    if losses.packets or losses.frames:
        parts.append(f"{losses.packets} packets and {losses.frames} frames are damaged")
    if losses.disordered:
        parts.append(f"{losses.disordered} frames without a time of their own are left out")
    if parts:
        warnings.warn(f"{facts.path}: {'; '.join(parts)}; the epochs are marked", stacklevel=3)
