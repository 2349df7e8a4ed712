"""A film that is decoded once, kept so that its epochs can be cut again where they belong.

Where a film lies on the recording's clock is known only when all of it was seen. So its clips are
kept at three times the rate, and the body's signals as they are, in files that are mapped into
memory: epochs are then cut from them at the right times, to the nearest picture.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from xdistill.data.sleep_stages import EPOCH_S
from xdistill.sleep.body.features import BODY_FEATURES, BodyFeatures
from xdistill.sleep.films.epochs import VideoEpoch, film_epochs
from xdistill.sleep.films.facts import film_facts
from xdistill.sleep.grid import Grid
from xdistill.sleep.marks import Mark
from xdistill.sleep.video_options import VideoOptions
from xdistill.storage.atomic import cannot_write, partial_name
from xdistill.storage.mapped import new_array

DENSER = 3
"""Odd, so that the pictures of the expected epochs are among those that are kept."""
MARGIN = 3
"""Epochs of the film before and after the night, into which it may be moved."""
TOUCHES_S = 1.0
"""An epoch has the marks of those that it shares as much with."""


class Film(NamedTuple):
    """A decoded film.

    Attributes:
        grid: its epochs, the margins included, on its own clock.
        options: what its clips become.
        denser: how many pictures are kept for one of a clip.
        clips: uint8 [E, denser T, S, S].
        body: float32 [E, C, L], NaN in epochs without picture.
        features: float32 [E, F], NaN as well.
        marks: of each epoch.
    """

    grid: Grid
    options: VideoOptions
    denser: int
    clips: np.ndarray
    body: np.ndarray
    features: np.ndarray
    marks: list[frozenset[Mark]]


class Spool:
    """A folder beside the night's for what is decoded of its film; removed with the context.

    Raises:
        OSError: it cannot be written; names it.
    """

    def __init__(self, night: Path):
        self.folder = partial_name(night)
        self._night = night

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def decode(
        self,
        path: Path,
        options: VideoOptions,
        grid: Grid,
        *,
        movable: bool,
        progress: Callable[[float], None],
        threads: int = 0,
    ) -> Film:
        """Decode the epochs of a grid, which has a count.

        Args:
            path: the film.
            options: what becomes of it.
            grid: on the film's clock.
            movable: whether the epochs may be cut elsewhere afterwards.
            progress: is told the share that is done.
            threads: of the decoder.

        Raises:
            ValueError: the film cannot be read.
            OSError: the disk has no room for it; names the folder.
        """
        denser = DENSER if movable and DENSER * options.frames <= options.body_samples else 1
        wide = _with_margins(grid, film_facts(path).duration_s) if movable else grid
        count = wide.count or 0
        clips_shape = (count, denser * options.frames, options.size, options.size)
        body_shape = (count, len(options.body_channels), options.body_samples)
        try:
            self.folder.mkdir(parents=True)
            clips = new_array(self.folder / "clips.npy", np.uint8, clips_shape)
            body = new_array(self.folder / "body.npy", np.float32, body_shape)
        except OSError as error:
            raise cannot_write(self._night, error) from error
        features = np.full((count, len(BODY_FEATURES)), np.nan, np.float32)
        marks: list[frozenset[Mark]] = []
        dense = replace(options, frames=denser * options.frames)
        for epoch in film_epochs(path, dense, wide, progress=progress, threads=threads):
            marks.append(epoch.marks)
            body[epoch.number] = np.nan if epoch.body is None else epoch.body
            if epoch.clip is not None:
                clips[epoch.number] = epoch.clip
            if epoch.features is not None:
                features[epoch.number] = epoch.features
        return Film(wide, options, denser, clips, body, features, marks)


def _with_margins(grid: Grid, duration_s: float) -> Grid:
    """Up to `MARGIN` epochs more on either side, where the film has pictures for them."""
    count = grid.count or 0
    before = min(MARGIN, max(0, math.ceil(grid.start_s / EPOCH_S)))
    after = min(MARGIN, max(0, math.ceil((duration_s - grid.start_of(count)) / EPOCH_S)))
    return Grid(grid.start_of(-before), before + count + after, grid.drift)


def course(film: Film) -> tuple[np.ndarray, float]:
    """float32 [C, t] of the body over the whole film, and the film's time of its first sample."""
    return film.body.transpose(1, 0, 2).reshape(film.body.shape[1], -1), film.grid.start_s


def cut(film: Film, grid: Grid, number: int) -> VideoEpoch:
    """One epoch of a grid on the film's clock; as it was decoded where that was its place.

    Clips and signals have the nearest picture in time. Marks are those of all decoded epochs that
    it shares a second with; numbers of the body are mixed by how much it shares with each, and
    position changes are those of the one that it shares most with. Without a picture in one of its
    two parts it is marked as having a gap, without any as having no video.
    """
    here, place_s = grid.start_of(number), film.grid.epoch_s
    first = (here - film.grid.start_s) / place_s
    if abs(first - round(first)) * EPOCH_S < 0.5 / film.options.body_rate_hz and not grid.drift:
        return _whole(film, number, round(first))
    low = int(np.floor(first))
    parts = {low: 1 - (first - low), low + 1: first - low}
    shared = {at: part for at, part in parts.items() if part * EPOCH_S >= TOUCHES_S}
    marks = frozenset().union(*(_marks(film, at) for at in shared))
    seen = {at: part for at, part in parts.items() if Mark.NO_VIDEO not in _marks(film, at)}
    if not seen.keys() & shared.keys():
        return VideoEpoch(number, None, None, None, marks)
    if Mark.NO_VIDEO in marks:
        marks = marks - {Mark.NO_VIDEO} | {Mark.VIDEO_GAP}
    frames, samples = film.options.frames, film.options.body_samples
    epochs, places, _ = _nearest(film, grid, number, frames, film.denser * frames, list(seen))
    clip = film.clips[epochs, places]
    epochs, places, there = _nearest(film, grid, number, samples, samples, list(seen))
    body = film.body[epochs, :, places].T * there
    return VideoEpoch(number, clip, body.astype(np.float32), _mixed(film, seen), marks)


def _whole(film: Film, number: int, at: int) -> VideoEpoch:
    marks = _marks(film, at)
    if Mark.NO_VIDEO in marks:
        return VideoEpoch(number, None, None, None, marks)
    clip = film.clips[at, film.denser // 2 :: film.denser]
    features = BodyFeatures(*film.features[at].tolist())
    return VideoEpoch(number, clip, film.body[at], features, marks)


def _marks(film: Film, at: int) -> frozenset[Mark]:
    return film.marks[at] if 0 <= at < len(film.marks) else frozenset({Mark.NO_VIDEO})


def _nearest(
    film: Film, grid: Grid, number: int, wanted: int, kept: int, seen: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[wanted] The nearest picture to each time of an epoch, and whether that is its own time.

    Returns:
        the decoded epoch, the place in it, and False where the epoch next to the picture's is
        without one.
    """
    times = grid.start_of(number) + (np.arange(wanted) + 0.5) / wanted * grid.epoch_s
    places = np.rint((times - film.grid.start_s) / film.grid.epoch_s * kept - 0.5).astype(int)
    inside = np.clip(places, min(seen) * kept, (max(seen) + 1) * kept - 1)
    return *np.divmod(inside, kept), inside == places


def _mixed(film: Film, seen: dict[int, float]) -> BodyFeatures:
    rows = film.features[list(seen)].astype(np.float64)  # [n, F]
    weights = np.array(list(seen.values()))[:, None] * np.isfinite(rows)
    total = weights.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mixed = np.where(total > 0, (weights * np.nan_to_num(rows)).sum(axis=0) / total, np.nan)
    most = max(seen, key=lambda at: seen[at])
    turns = film.features[most, BODY_FEATURES.index("position_changes")]
    return BodyFeatures(*mixed.tolist())._replace(position_changes=int(turns))
