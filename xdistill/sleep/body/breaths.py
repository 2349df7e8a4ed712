"""Breath by breath: rate, regularity and amplitude of a breathing waveform."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import signal

SHORTEST_S = 1.5
"""From crest to crest: forty breaths a minute."""
PROMINENCE = 0.5
"""Of a breath, as a share of the waveform's standard deviation."""
LEAST = 3
"""Breaths from which a rate is told."""
NOTICED_S = 10.0
"""From so much of the epoch before, breaths are told together with those of this one."""


class Breaths(NamedTuple):
    """What the breaths of a waveform are like; NaN where there are too few.

    Attributes:
        rate: breaths a minute.
        regularity: 1 less the lengths' standard deviation / mean; not below 0.
        amplitude: median from trough to crest.
    """

    rate: float
    regularity: float
    amplitude: float


def breaths_of(waveform: np.ndarray, still: np.ndarray, rate_hz: int) -> Breaths:
    """What the breaths are like; those during which the body moved are left out.

    Args:
        waveform: [W] filtered to the band of breathing.
        still: [W] where nothing but breathing moves.
        rate_hz: samples a second.
    """
    limit = PROMINENCE * float(np.std(waveform[still])) if still.any() else 0.0
    lengths, heights = [], []
    for towards in (waveform, -waveform):  # crests, then troughs
        crests, found = signal.find_peaks(
            towards, prominence=max(limit, 1e-9), distance=max(1, round(SHORTEST_S * rate_hz))
        )
        at = crests + _between_samples(towards, crests)
        for one, other in pairwise(range(len(crests))):
            if still[crests[one] : crests[other]].mean() > 0.9:
                lengths.append((at[other] - at[one]) / rate_hz)
        heights += list(found["prominences"][still[crests]])
    if len(lengths) < 2 * (LEAST - 1):
        return Breaths(np.nan, np.nan, np.nan)
    mean = float(np.mean(lengths))
    regularity = max(0.0, 1 - float(np.std(lengths)) / mean)
    return Breaths(60 / mean, regularity, float(np.median(heights)))


def _between_samples(values: np.ndarray, crests: np.ndarray) -> np.ndarray:
    """By how much of a sample the top of a parabola lies beside each crest."""
    left, top, right = values[crests - 1], values[crests], values[crests + 1]
    return np.clip((left - right) / (2 * (left - 2 * top + right)), -0.5, 0.5)
