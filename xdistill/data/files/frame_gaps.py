"""Frames that are missing within a film of constant rate, whose container does not count them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Int64

FEWEST = 8
"""Steps from frame to frame that tell a rate."""
REGULAR = 0.9
"""Share of them that are alike in a film of constant rate."""


def frames_skipped(times: Int64[np.ndarray, " n"]) -> int:
    """How many frames the gaps would hold if the film went on as it does elsewhere.

    0 where the steps between its frames differ, as in a film of variable rate.

    Args:
        times: when each frame is shown, ascending, in the track's unit of time, which may round.
    """
    steps = np.diff(times)
    if len(steps) < FEWEST:
        return 0
    step = float(np.median(steps))
    regular = np.abs(steps - step) <= max(1.0, 0.1 * step)
    if step <= 2 or regular.mean() < REGULAR:
        return 0
    mean = float(steps[regular].mean())
    return int(np.maximum(np.round(steps[~regular] / mean) - 1, 0).sum())


def tell_of_gaps(path: Path, times: Int64[np.ndarray, " n"], stacklevel: int = 2) -> None:
    """Count the frames that are skipped in a warning: the film may be damaged there."""
    skipped = frames_skipped(times)
    if skipped:
        warnings.warn(
            f"{path} shows {len(times)} frames at a constant rate but for gaps in which "
            f"{skipped} more would be: either the camera left them out, or the film is damaged; "
            "if another copy has them, take that one",
            stacklevel=stacklevel + 1,
        )
