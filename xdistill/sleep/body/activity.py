"""How much moves, in blocks of the picture."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter1d

from xdistill.sleep.body.change import Change

MEMORY = 20
"""Epochs from which the noise of each block is known."""
QUIETEST, ABOVE = 10, 1.1
"""The noise of a block in an epoch: so many percent of its samples change less, times a factor."""
MOVING, MOVING_NOISES = 0.01, 0.5
"""A block moves when it changes by so much of the picture's contrast, and so many times its noise,
more than its noise."""
PULSE, PULSES, LARGEST = 98, 1.3, 0.06
"""What coders do at key frames is no movement: a block may change by this factor more than so many
percent of the samples of the quietest epoch do, but never by more than the last number."""
AROUND_S = 0.3
"""Before and after a movement, for which a body does not lie still either."""


class Activity(NamedTuple):
    """What moves.

    Attributes:
        blocks: [grid * grid, L] mean change beyond noise, in units of the picture's contrast.
        moving: [L] whether some block moves, or moved just before or after.
        pulse: [L] whether some block changes more than by noise, as coders make it at key frames.
    """

    blocks: np.ndarray
    moving: np.ndarray
    pulse: np.ndarray


class NoiseFloor:
    """The change of each block in a picture in which nothing moves.

    It is what changes in the quietest samples of the quietest epoch so far.
    """

    def __init__(self) -> None:
        self._quiet: deque[np.ndarray] = deque(maxlen=MEMORY)

    def forget(self) -> None:
        """The light or the camera is another: the noise, too."""
        self._quiet.clear()

    def __call__(self, changes: np.ndarray) -> np.ndarray:
        """The noise of blocks [n, L], what is more than noise, and what is movement: [3, n]."""
        if changes.shape[1]:
            self._quiet.append(np.percentile(changes, (QUIETEST, PULSE), axis=1))
        if not self._quiet:
            return np.zeros((3, len(changes)))
        quiet, pulse = np.min(np.stack(self._quiet), axis=0)
        noise = ABOVE * quiet
        sure = noise * (1 + MOVING_NOISES) + MOVING
        moves = np.maximum(sure, np.minimum(PULSES * pulse, noise + LARGEST))
        return np.stack([noise, sure, moves])


def activity_of(change: Change, grid: int, floor: NoiseFloor, rate_hz: int) -> Activity:
    """Mean change of each block beyond its noise; a step of light counts nothing.

    A sample that shows the frame before again has the change of the next new one, so that a film
    with few frames, or one that dropped some, does not seem to stand still in between.

    Args:
        change: from sample to sample.
        grid: blocks along each side.
        floor: the noise so far; it learns from this epoch.
        rate_hz: samples a second.
    """
    raw = _block_means(np.abs(change.change), grid)
    usable = change.known & ~change.step
    noise, sure, moves = np.zeros((3, *raw.shape), raw.dtype)
    for part in _between_steps(change.step):
        if part.start > 0:
            floor.forget()
        found = floor(raw[:, part][:, usable[part]])
        noise[:, part], sure[:, part], moves[:, part] = found[:, :, None]
    blocks = np.where(usable, np.maximum(raw - noise, 0), 0)
    moving = ((raw > moves) & usable).any(axis=0)
    pulse = ((raw > sure) & usable).any(axis=0)
    around = 2 * max(1, round(AROUND_S * rate_hz)) + 1
    blocks = blocks[:, _next_of(change.known)] * (~change.step)
    return Activity(blocks.astype(np.float32), maximum_filter1d(moving, around), pulse)


def _between_steps(step: np.ndarray) -> list[slice]:
    """The parts [L] into which steps of light divide an epoch; each begins with its step."""
    begins = [0, *(np.flatnonzero(np.diff(step.astype(int)) > 0) + 1), len(step)]
    return [slice(int(one), int(other)) for one, other in pairwise(begins)]


def _block_means(values: np.ndarray, grid: int) -> np.ndarray:
    """[grid * grid, L] of [L, B, B]."""
    edges = np.linspace(0, values.shape[1], grid + 1).round().astype(int)
    sums = np.add.reduceat(np.add.reduceat(values, edges[:-1], axis=1), edges[:-1], axis=2)
    sides = np.diff(edges)
    return (sums / np.outer(sides, sides)).reshape(len(values), -1).T


def _next_of(known: np.ndarray) -> np.ndarray:
    """[L] the position of the next known sample, or of itself where none follows."""
    places = np.arange(len(known))
    after = np.where(known, places, len(known))
    after = np.minimum.accumulate(after[::-1])[::-1]
    return np.where(after < len(known), after, places)
