"""How much moves, in blocks of the picture."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter1d

from xdistill.sleep.body.change import Change

MEMORY = 20
"""Epochs from which the noise of each block is known."""
MOVING, MOVING_NOISES = 0.02, 1.0
"""A block moves when it changes by so much of the picture's contrast, and so many times its noise,
more than its noise."""
AROUND_S = 0.3
"""Before and after a movement, for which a body does not lie still either."""


class Activity(NamedTuple):
    """What moves.

    Attributes:
        blocks: [grid * grid, L] mean change beyond noise, in units of the picture's contrast.
        moving: [L] whether some block moves, or moved just before or after.
    """

    blocks: np.ndarray
    moving: np.ndarray


class NoiseFloor:
    """The change of each block in a picture in which nothing moves.

    It is the least of the medians of the epochs so far: a body lies still in one of them.
    """

    def __init__(self) -> None:
        self._medians: deque[np.ndarray] = deque(maxlen=MEMORY)

    def forget(self) -> None:
        """The light or the camera is another: the noise, too."""
        self._medians.clear()

    def __call__(self, changes: np.ndarray) -> np.ndarray:
        """The noise of blocks [n, L]: [n, 1]."""
        if changes.shape[1]:
            self._medians.append(np.median(changes, axis=1, keepdims=True))
        if not self._medians:
            return np.zeros((len(changes), 1), np.float32)
        return np.min(np.stack(self._medians), axis=0)


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
    if change.step.any():
        floor.forget()
    noise = floor(raw[:, usable])
    blocks = np.where(usable, np.maximum(raw - noise, 0), 0)
    moving = (blocks > MOVING + MOVING_NOISES * noise).any(axis=0)
    around = 2 * max(1, round(AROUND_S * rate_hz)) + 1
    blocks = blocks[:, _next_of(change.known)] * (~change.step)
    return Activity(blocks.astype(np.float32), maximum_filter1d(moving, around))


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
