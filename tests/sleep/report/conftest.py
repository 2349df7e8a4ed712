"""A staged night and what is known of its student."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from xdistill.sleep.marks import Mark
from xdistill.sleep.report.distance import TrainingNights
from xdistill.sleep.report.held_out import HeldOutSleeper
from xdistill.sleep.report.night import StagedNight
from xdistill.sleep.report.statistics import sleep_statistics
from xdistill.sleep.report.student import StudentFacts

NAMES = ("activity", "position_changes", "breathing_rate", "breathing_regularity")
EPOCHS = 90


def course(seed: int) -> np.ndarray:
    """Stages of a night in blocks of five minutes."""
    return np.repeat(np.random.default_rng(seed).integers(0, 5, EPOCHS // 10), 10)


@pytest.fixture
def night() -> StagedNight:
    rng = np.random.default_rng(0)
    probabilities = np.full((EPOCHS, 5), 0.1, np.float32)
    probabilities[np.arange(EPOCHS), course(1)] = 0.6
    features = rng.normal([1, 0.1, 14, 0.9], [0.2, 0.05, 1, 0.05], (EPOCHS, 4)).astype(np.float32)
    probabilities[20:24], features[20:24] = np.nan, np.nan
    gap, none = frozenset({Mark.NO_VIDEO}), frozenset()
    marks = tuple(gap if 20 <= at < 24 else none for at in range(EPOCHS))
    start = datetime(2026, 3, 4, 22, 51, 12)
    return StagedNight("night <17>.mp4", start, probabilities, features, NAMES, marks)


@pytest.fixture
def student() -> StudentFacts:
    sleepers: list[HeldOutSleeper] = []
    for seed in range(4):
        found, right = sleep_statistics(course(seed)), sleep_statistics(course(seed + 9))
        scores = (0.71, 0.62, 0.55)
        sleepers.append(
            HeldOutSleeper(f"s{seed}", EPOCHS, *scores, found._asdict(), right._asdict())
        )
    training = TrainingNights(
        NAMES, np.array([1.0, 0.1, 14.0, 0.9]), np.array([0.3, 0.05, 2.0, 0.1]), np.eye(4), 12
    )
    return StudentFacts("runs/a", {"method": "kd"}, tuple(sleepers), training)
