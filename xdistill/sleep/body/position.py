"""Changes of position: the body lies differently after a movement than before it."""

from __future__ import annotations

import numpy as np

from xdistill.sleep.body.change import contrast_of

STILL_S = 2.0
"""How long a body lies before and after a movement, for its position to be known."""
SHARE = 0.03
"""Of the picture that is different after a change of position."""
DIFFERENT = 0.35
"""Of the picture's contrast, by which a place is different."""


class PositionChanges:
    """Counts the changes of position of epoch after epoch.

    A movement is judged in the epoch in which the body has lain still again for two seconds.
    """

    def __init__(self, rate_hz: int) -> None:
        self._samples = round(STILL_S * rate_hz)
        self.forget()

    def forget(self) -> None:
        """What comes is not to be compared with what was: the camera has moved."""
        self._before: np.ndarray | None = None
        self._moved = False
        self._still: list[np.ndarray] = []

    def __call__(self, frames: np.ndarray, moving: np.ndarray, known: np.ndarray) -> int:
        """How many changes of position are found in the epoch.

        Args:
            frames: [L, B, B] grey levels.
            moving: [L] whether something moves.
            known: [L] whether the sample is a frame of its own.
        """
        count = 0
        for frame, moves, new in zip(frames, moving, known, strict=True):
            if moves:
                self._moved, self._still = True, []
            elif new:
                self._still.append(frame)
                if len(self._still) == self._samples:
                    count += self._settled(np.median(self._still, axis=0))
        return count

    def _settled(self, lies: np.ndarray) -> bool:
        changed = self._before is not None and self._moved and differs(self._before, lies)
        self._before, self._moved, self._still = lies, False, []
        return changed


def differs(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether a body lies differently in two pictures [B, B], whatever their light."""
    one, other = (
        (each - each.mean()) / np.squeeze(contrast_of(each), (-2, -1)) for each in (before, after)
    )
    return bool((np.abs(other - one) > DIFFERENT).mean() > SHARE)
