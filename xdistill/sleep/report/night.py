"""A night that a student has staged."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import numpy as np

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.sleep.marks import Mark
from xdistill.sleep.report.statistics import UNSCORED


class StagedNight(NamedTuple):
    """What a student says of every epoch of a film, and what the film showed.

    Attributes:
        source: name of the film or camera.
        start: when the first epoch began, on the camera's clock; None where the film does not say.
        probabilities: float32 [E, 5] in the order of `STAGES`; NaN for an epoch without a stage.
        features: float32 [E, F] of the body; NaN where the film shows none.
        feature_names: of their columns.
        marks: of every epoch.
    """

    source: str
    start: datetime | None
    probabilities: np.ndarray
    features: np.ndarray
    feature_names: tuple[str, ...]
    marks: tuple[frozenset[Mark], ...]

    @property
    def stages(self) -> np.ndarray:
        """int8 [E]: the likeliest stage, -1 for an epoch without one."""
        return likeliest(self.probabilities)

    @property
    def confidence(self) -> np.ndarray:
        """float32 [E]: the probability of the likeliest stage, NaN for an epoch without one."""
        known = ~np.isnan(self.probabilities).any(axis=1)
        filled = np.where(np.expand_dims(known, 1), self.probabilities, 0).max(axis=1)
        return np.where(known, filled, np.nan).astype(np.float32)

    @property
    def hours(self) -> np.ndarray:
        """[E]: when every epoch begins, in hours since the first."""
        return np.arange(len(self.marks)) * EPOCH_S / 3600

    def feature(self, name: str) -> np.ndarray:
        """[E]: one feature of the body; NaN throughout for one that the film does not have."""
        if name not in self.feature_names:
            return np.full(len(self.marks), np.nan, np.float32)
        return self.features[:, self.feature_names.index(name)]


def likeliest(probabilities: np.ndarray) -> np.ndarray:
    """int8 [E]: the position of the largest of [E, 5] probabilities, -1 where they are NaN."""
    if probabilities.ndim != 2 or probabilities.shape[1] != len(STAGES):
        raise ValueError(
            f"probabilities must be [epochs, {len(STAGES)}] in the order {', '.join(STAGES)}, got "
            f"{probabilities.shape}"
        )
    known = ~np.isnan(probabilities).any(axis=1)
    best = np.where(np.expand_dims(known, 1), probabilities, 0).argmax(axis=1)
    return np.where(known, best, UNSCORED).astype(np.int8)
