"""How well a film's course fits the recording's at each lag, in windows over the night."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from xdistill.sleep.align.courses import Course

LEAST_KNOWN = 0.8
"""Share of a window that must be known."""
BLOCK = 64
"""Windows that are correlated at once."""


class Lags(NamedTuple):
    """Correlation in windows of the film.

    Attributes:
        film_s: [w] middle of each window on the film's clock.
        lag_s: [l] how much later than expected the recording shows the same, evenly spaced.
        correlation: [w, l], -1 to 1; 0 where the recording has nothing.
    """

    film_s: Float[np.ndarray, " w"]
    lag_s: Float[np.ndarray, " l"]
    correlation: Float32[np.ndarray, "w l"]


def correlate(
    recorded: Course, filmed: Course, *, offset_s: float, window_s: float, search_s: float
) -> Lags:
    """Correlates each window of the film with the recording around where it is expected.

    Args:
        recorded: on the recording's clock.
        filmed: of the same rate, on the film's clock.
        offset_s: the film's expected start on the recording's clock.
        window_s: length of a window.
        search_s: largest lag in either direction.
    """
    rate = filmed.rate_hz
    length, reach = round(window_s * rate), round(search_s * rate)
    shift = round((offset_s + filmed.first_s - recorded.first_s) * rate)
    exact_s = shift / rate + recorded.first_s - filmed.first_s - offset_s
    lag_s = np.arange(-reach, reach + 1) / rate + exact_s
    starts = np.arange(0, len(filmed.values) - length + 1, length)
    good = [
        start
        for start in starts.tolist()
        if filmed.known[start : start + length].mean() >= LEAST_KNOWN
        and np.ptp(filmed.values[start : start + length]) > 0
        and _known(recorded, start + shift, length) >= LEAST_KNOWN
    ]
    correlation = np.zeros((len(good), len(lag_s)), np.float32)
    for first in range(0, len(good), BLOCK):
        block = good[first : first + BLOCK]
        film = np.stack([filmed.values[start : start + length] for start in block])
        span = length + 2 * reach
        around = np.stack([_cut(recorded, start + shift - reach, span) for start in block])
        correlation[first : first + BLOCK] = _normalised(film, around)
    middle_s = (np.array(good, float) + (length - 1) / 2) / rate + filmed.first_s
    return Lags(middle_s, lag_s, correlation)


def _known(course: Course, start: int, length: int) -> float:
    there = course.known[max(start, 0) : max(start + length, 0)]
    return float(there.sum()) / length


def _cut(course: Course, start: int, length: int) -> np.ndarray:
    """A part of the course, with zeros beyond its ends."""
    part = np.zeros(length, np.float32)
    first, last = max(start, 0), min(start + length, len(course.values))
    if last > first:
        part[first - start : last - start] = course.values[first:last]
    return part


def _normalised(film: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Correlation of films [w, n] with each part of n samples of recordings [w, n + l - 1]."""
    n = film.shape[1]
    film = film - film.mean(axis=1, keepdims=True)
    size = 1 << (around.shape[1] + n - 1).bit_length()
    spectrum = np.fft.rfft(around, size) * np.conj(np.fft.rfft(film, size))
    product = np.fft.irfft(spectrum, size)[:, : around.shape[1] - n + 1]
    total = _sums(around, n)
    square = np.maximum(_sums(around**2, n) - total**2 / n, 0)
    norm = np.sqrt(square * (film**2).sum(axis=1, keepdims=True))
    return np.where(norm > 1e-3 * n, product / np.maximum(norm, 1e-9), 0)


def _sums(values: np.ndarray, n: int) -> np.ndarray:
    """Sums over each n samples in a row: [w, l]."""
    total = np.cumsum(values, axis=1, dtype=np.float64)
    total = np.concatenate([np.zeros((len(values), 1)), total], axis=1)
    return total[:, n:] - total[:, :-n]
