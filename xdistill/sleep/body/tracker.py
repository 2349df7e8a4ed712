"""A sleeper's body from epoch to epoch: signals and numbers, from this and earlier frames alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xdistill.sleep.body.activity import NoiseFloor, activity_of
from xdistill.sleep.body.breathing import BreathingFilter
from xdistill.sleep.body.breaths import NOTICED_S, breaths_of
from xdistill.sleep.body.change import change_between
from xdistill.sleep.body.features import BodyFeatures
from xdistill.sleep.body.position import PositionChanges

THOUSANDTHS = 1000.0
LEAST_QUALITY = 0.3
"""Of breathing whose rate is told."""


class BodyEpoch(NamedTuple):
    """What the body did in an epoch.

    Attributes:
        signals: [2 + grid * grid, L] float32 as `VideoOptions.body_channels` names them: breathing,
            activity and that of each block, in thousandths of the picture's contrast.
        features: its numbers.
        light_step: whether the light, or the camera's gain, stepped.
    """

    signals: np.ndarray
    features: BodyFeatures
    light_step: bool


class BodyTracker:
    """Follows a body through a night; `forget` where epochs do not follow on each other."""

    def __init__(self, rate_hz: int, grid: int) -> None:
        self._rate_hz, self._grid = rate_hz, grid
        self._floor = NoiseFloor()
        self._breathing = BreathingFilter(rate_hz)
        self._position = PositionChanges(rate_hz)
        self._last: np.ndarray | None = None
        self._still = np.zeros(0, bool)

    def forget(self) -> None:
        """Nothing is known of what comes before the next epoch, but the sensor's noise."""
        self._last, self._still = None, np.zeros(0, bool)
        self._breathing.forget()
        self._position.forget()

    def __call__(
        self,
        frames: np.ndarray,
        fresh: np.ndarray,
        missing: np.ndarray,
        camera_moved: bool = False,
    ) -> BodyEpoch:
        """The body's signals and numbers of the next epoch.

        Args:
            frames: [L, B, B] grey levels.
            fresh: [L] whether each sample is another frame than the one before.
            missing: [L] whether nothing is shown there.
            camera_moved: no change of position is then counted.
        """
        rate = self._rate_hz
        change = change_between(frames, fresh, missing, self._last, rate)
        self._last = frames[-1].copy() if not missing[-1] else None
        activity = activity_of(change, self._grid, self._floor, rate)
        still = ~activity.moving & ~change.step & ~missing
        waveform = self._breathing(change.change, still & ~activity.pulse)
        turns = self._position(frames, activity.moving | change.step, fresh)
        if camera_moved:
            turns = 0
            self._position.forget()
        blocks = np.where(missing, 0, activity.blocks)
        total = blocks.mean(axis=0)
        own = waveform.values[-len(frames) :]
        seen = min(len(waveform.values), len(frames) + round(NOTICED_S * rate))
        breaths = breaths_of(
            waveform.values[-seen:], np.concatenate([self._still, still])[-seen:], rate
        )
        self._still = still
        told = waveform.quality >= LEAST_QUALITY
        signals = np.concatenate([own[None], total[None], blocks]) * THOUSANDTHS
        features = BodyFeatures(
            activity=float(total.mean() * THOUSANDTHS),
            position_changes=turns,
            breathing_rate=breaths.rate if told else np.nan,
            breathing_regularity=breaths.regularity if told else np.nan,
            breathing_amplitude=breaths.amplitude * THOUSANDTHS if told else np.nan,
            breathing_quality=waveform.quality,
        )
        return BodyEpoch(signals.astype(np.float32), features, bool(change.step.any()))
