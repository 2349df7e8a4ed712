"""Change from one sample of a film to the next, whatever the camera's gain and the light do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

LEAST_CONTRAST = 2.0
"""Grey levels; what a picture of less contrast shows is noise."""
STILL = 2.5
"""Pixels that change by less than so many mean changes tell gain and brightness."""
STEP_LEVELS, STEP_SHARE = 3.0, 0.10
"""The light has stepped when within a second it changes by so many grey levels, and by so much of
the picture's level."""
PART_OF_STEP = 0.3
"""A sample takes part in a step when it has so much of it."""


class Change(NamedTuple):
    """Change from each sample to the next.

    Attributes:
        change: [L, B, B] in units of the picture's contrast; 0 where a sample is no new frame.
        known: [L] whether a sample is a new frame that follows on another.
        step: [L] whether the light, or the camera's gain, steps there.
    """

    change: np.ndarray
    known: np.ndarray
    step: np.ndarray


def change_between(
    frames: np.ndarray,
    fresh: np.ndarray,
    missing: np.ndarray,
    before: np.ndarray | None,
    rate_hz: int,
) -> Change:
    """Change from sample to sample that no gain and brightness of the whole picture explains.

    Gain and brightness come from the pixels that change least, so that a body that moves does not
    look like light. After a gap there is no change: a body that lies elsewhere has moved unseen.

    Args:
        frames: [L, B, B] grey levels.
        fresh: [L] whether a sample is another frame than the one before.
        missing: [L] whether nothing is shown there.
        before: [B, B] the last sample of the epoch before; None where there is none.
        rate_hz: samples a second.
    """
    chosen = np.flatnonzero(fresh)
    change = np.zeros_like(frames)
    known = np.zeros(len(frames), bool)
    light = np.zeros((2, len(frames)))
    level = np.ones(len(frames))
    if len(chosen) + (before is not None) < 2:
        return Change(change, known, np.zeros(len(frames), bool))
    new = frames[chosen]
    if before is None:
        old, new, chosen = new[:-1], new[1:], chosen[1:]
    else:
        old = np.concatenate([before[None], new[:-1]])
    level[chosen] = new.mean(axis=(1, 2))
    change[chosen], light[:, chosen] = _unexplained(old, new)
    known[chosen] = True
    for at in chosen[_after_gap(chosen, missing)]:
        change[at], known[at], light[:, at] = 0, False, 0
    return Change(change, known, _steps(light, level, rate_hz))


def contrast_of(frames: np.ndarray) -> np.ndarray:
    """[..., 1, 1] the standard deviation of each picture, at least 2 grey levels."""
    return np.maximum(frames.std(axis=(-2, -1), keepdims=True), LEAST_CONTRAST)


def _unexplained(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[P, B, B] and, of each pair, by how many levels brightness and contrast [2, P] change."""
    old_0 = old - old.mean(axis=(1, 2), keepdims=True)
    new_0 = new - new.mean(axis=(1, 2), keepdims=True)
    contrast = contrast_of(new)
    rough = np.abs(new_0 / contrast - old_0 / contrast_of(old))
    still = rough <= STILL * rough.mean(axis=(1, 2), keepdims=True)
    count = still.sum(axis=(1, 2))
    old_mean, old_sd = _moments_where(still, old_0, count)
    new_mean, new_sd = _moments_where(still, new_0, count)
    gain = new_sd / old_sd
    old_0 -= old_mean[:, None, None]
    old_0 *= gain[:, None, None]
    new_0 -= new_mean[:, None, None]
    new_0 -= old_0
    new_0 /= contrast
    shift = new.mean(axis=(1, 2)) + new_mean - old.mean(axis=(1, 2)) - old_mean
    return new_0, np.stack([shift, new_sd - old_sd])


def _moments_where(
    still: np.ndarray, frames: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    mean = np.einsum("pij,pij->p", frames, still) / count
    square = np.einsum("pij,pij,pij->p", frames, frames, still, optimize=False) / count
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    return mean, np.maximum(spread, LEAST_CONTRAST / 2)


def _after_gap(chosen: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """[P] whether anything is missing between each chosen sample and the one before it."""
    so_far = np.concatenate([[0], np.cumsum(missing)])
    return np.diff(so_far[np.concatenate([[0], chosen])]) > 0


def _steps(light: np.ndarray, level: np.ndarray, rate_hz: int) -> np.ndarray:
    """[L] whether brightness or contrast [2, L] jump there."""
    limit = np.maximum(STEP_LEVELS, STEP_SHARE * level)
    within = uniform_filter1d(light, rate_hz, axis=1, mode="constant") * rate_hz
    step = (np.abs(within) >= limit).any(axis=0)
    near = np.asarray(maximum_filter1d(step, rate_hz + 1), bool)
    part = (np.abs(light) >= PART_OF_STEP * limit).any(axis=0)
    return near & (part | step)
