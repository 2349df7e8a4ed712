"""Where a channel stays at its amplifier's limit."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

LEAST_SAMPLES = 3
"""Shorter stays at the extreme are peaks."""
OFTEN = 10
LONG_S = 0.2
"""An extreme is a limit if it is reached that often, or stayed at for so long."""


def clipped_samples(stored: Float64[np.ndarray, " n"], rate_hz: float) -> Bool[np.ndarray, " n"]:
    """Which stored samples are at a limit.

    Headers often state the converter's range, and the amplifier's is smaller. A limit is therefore
    seen from the samples: they reach their largest (or smallest) value again and again and stay
    there, which no brain's peaks do.
    """
    result = np.zeros(len(stored), bool)
    if not len(stored) or stored.min() == stored.max():
        return result
    for extreme in (stored.min(), stored.max()):
        first, end = stretches(stored == extreme)
        stays = end - first >= LEAST_SAMPLES
        first, end = first[stays], end[stays]
        if len(first) >= OFTEN or ((end - first) >= LONG_S * rate_hz).any():
            for one, two in zip(first, end, strict=True):
                result[one:two] = True
    return result


def stretches(true: Bool[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """First position of each stretch of true values, and the position after its last."""
    edges = np.diff(np.concatenate([[0], true.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
