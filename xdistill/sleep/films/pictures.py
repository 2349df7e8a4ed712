"""The pictures of an epoch: which frame is shown at each of its moments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from xdistill.sleep.films.picture import Picture, as_bytes, colourfulness, square
from xdistill.sleep.films.timed import TimedFrame
from xdistill.sleep.grid import Grid
from xdistill.sleep.marks import Mark
from xdistill.sleep.video_options import VideoOptions

GAP_S = 1.0
"""No frame for so long is a gap."""
OVERLAP_S = 0.1
"""A gap that reaches less far into an epoch is not marked there."""
LATE_S = 0.1
"""By so much the last epoch may end after the film: containers round their times."""
EARLY_S = 1e-6
"""A frame is shown at a moment that is earlier by so little: times are binary fractions."""


class EpochPictures(NamedTuple):
    """The pictures of an epoch.

    Attributes:
        number: of the epoch.
        clip: [T, S, S] uint8, shown at the evenly spread moments (2i + 1) / 2T of the epoch.
        body: [L, B, B] grey levels, shown at such moments, `VideoOptions.body_rate_hz` a second.
        fresh: [L] whether each of them is another frame than the one before.
        missing: [L] whether there was no frame for so long that none is shown.
        scene: [30, B, B] the whole picture, once a second.
        colours: [30] how much the colours vary over the picture.
        marks: gaps and damage.
    """

    number: int
    clip: np.ndarray
    body: np.ndarray
    fresh: np.ndarray
    missing: np.ndarray
    scene: np.ndarray
    colours: np.ndarray
    marks: frozenset[Mark]


class NoPictures(NamedTuple):
    """An epoch in which no frame lies."""

    number: int
    marks: frozenset[Mark]


def pictures_of_epochs(
    frames: Iterable[TimedFrame],
    options: VideoOptions,
    grid: Grid,
    duration_s: float | None = None,
) -> Iterator[EpochPictures | NoPictures]:
    """Every epoch of the grid once, in order, as soon as the first frame after it has come.

    Args:
        frames: in the order of their times.
        options: sizes, rates and the region.
        grid: the epochs on the recording's clock; without a count, all that end in the recording.
        duration_s: when the last frame ends; one usual step after it came when None.
    """
    draft = _Draft(0, options, grid)
    shown: _Shown | None = None
    last_s, step_s = 0.0, 0.0
    for frame in frames:
        if draft.number == grid.count:
            return
        step_s, last_s = frame.time_s - last_s, frame.time_s
        draft.show(shown, frame.time_s)
        while frame.time_s >= draft.end_s - EARLY_S:
            yield draft.finish()
            draft = draft.next()
            if draft.number == grid.count:
                return
            draft.show(shown, frame.time_s)
        if frame.picture is None:
            draft.damaged(frame.time_s)
        else:
            shown = _Shown(frame.time_s, frame.picture, options)
            draft.came(frame.time_s)
    end_s = last_s + step_s if duration_s is None else max(duration_s, last_s)
    while draft.number != grid.count:
        if grid.count is None and draft.end_s > end_s + LATE_S:
            return
        draft.show(shown, draft.end_s if draft.end_s <= end_s + LATE_S else end_s)
        yield draft.finish()
        draft = draft.next()


class _Shown:
    """The frame that is shown, converted only when a moment asks for it."""

    def __init__(
        self, time_s: float, picture: Callable[[], Picture], options: VideoOptions
    ) -> None:
        self.time_s, self._picture, self._options = time_s, picture, options

    @cached_property
    def picture(self) -> Picture:
        return self._picture()

    @cached_property
    def clip(self) -> np.ndarray:
        return as_bytes(square(self.picture, self._options.size, self._options.region))

    @cached_property
    def body(self) -> np.ndarray:
        return square(self.picture, self._options.body_size, self._options.region)

    @cached_property
    def scene(self) -> np.ndarray:
        if self._options.region is None:
            return self.body
        return square(self.picture, self._options.body_size)


class _Draft:
    """An epoch whose frames are coming."""

    def __init__(
        self, number: int, options: VideoOptions, grid: Grid, before_s: float | None = None
    ) -> None:
        self.number, self._options, self._grid = number, options, grid
        self.start_s, self.end_s = grid.start_of(number), grid.start_of(number + 1)
        samples, side = options.body_samples, options.body_size
        self._clip_s, self._body_s = self._moments(options.frames), self._moments(samples)
        self._clip = np.zeros((options.frames, options.size, options.size), np.uint8)
        self._body = np.zeros((samples, side, side), np.float32)
        self._fresh, self._missing = np.zeros(samples, bool), np.ones(samples, bool)
        seconds = len(range(0, samples, options.body_rate_hz))
        self._scene = np.zeros((seconds, side, side), np.float32)
        self._colours = np.zeros(seconds)
        self._clips_done = self._bodies_done = self._frames = 0
        self._before_s = before_s  # when the frame of the sample before came
        self._until_s = self.start_s
        self._shown: _Shown | None = None
        self._marks: set[Mark] = set()

    def next(self) -> _Draft:
        return _Draft(self.number + 1, self._options, self._grid, self._before_s)

    def show(self, shown: _Shown | None, until_s: float) -> None:
        """The frame is shown until another comes: all moments before are its."""
        since_s = self.start_s if shown is None else shown.time_s
        overlap_s = min(until_s, self.end_s) - max(since_s, self.start_s)
        if until_s - since_s >= GAP_S and overlap_s > OVERLAP_S:
            self._marks.add(Mark.VIDEO_GAP)
        self._until_s = max(self._until_s, min(until_s, self.end_s))
        if shown is not None:
            self._shown = shown
            self._fill(shown, self._until_s - EARLY_S)

    def came(self, time_s: float) -> None:
        self._frames += time_s >= self.start_s - EARLY_S

    def damaged(self, time_s: float) -> None:
        if time_s >= self.start_s - EARLY_S:
            self._marks.add(Mark.VIDEO_DAMAGED)

    def finish(self) -> EpochPictures | NoPictures:
        if not self._frames or self._shown is None:
            kept = self._marks & {Mark.VIDEO_DAMAGED}
            return NoPictures(self.number, frozenset({Mark.NO_VIDEO, *kept}))
        if self.end_s - self._until_s >= GAP_S:
            self._marks.add(Mark.VIDEO_GAP)
        self._fill(self._shown, np.inf)  # the film has ended: its last picture stays
        return EpochPictures(
            self.number,
            self._clip,
            self._body,
            self._fresh,
            self._missing,
            self._scene,
            self._colours,
            frozenset(self._marks),
        )

    def _moments(self, count: int) -> np.ndarray:
        shares = (2 * np.arange(count) + 1) / (2 * count)
        return self.start_s + shares * (self.end_s - self.start_s)

    def _fill(self, shown: _Shown, until_s: float) -> None:
        last = int(np.searchsorted(self._clip_s, until_s))
        if last > self._clips_done:
            self._clip[self._clips_done : last] = shown.clip
            self._clips_done = last
        last = int(np.searchsorted(self._body_s, until_s))
        for place in range(self._bodies_done, last):
            self._sample(shown, place)
        self._bodies_done = max(last, self._bodies_done)

    def _sample(self, shown: _Shown, place: int) -> None:
        self._body[place] = shown.body
        since_s = self._body_s[place] - shown.time_s
        self._missing[place] = not -EARLY_S <= since_s <= GAP_S or (
            self._body_s[place] > self._until_s
        )
        self._fresh[place] = shown.time_s != self._before_s and not self._missing[place]
        self._before_s = shown.time_s
        second, rest = divmod(place, self._options.body_rate_hz)
        if not rest:
            self._scene[second] = shown.scene
            self._colours[second] = colourfulness(shown.picture)
