"""Nights in the feature files of Sleep-EDF: each stage has a direction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xdistill.data.adapters.sleep_edf_features import CHANNELS, FEATURES, POWERS, UNSCORED


def write_sleep_edf_features_sample(
    root: str | Path, *, subjects: Sequence[int] = range(6), rows: int = 120, seed: int = 0
) -> Path:
    """Writes ``features/SC4ss1E0.npz`` of each subject: wakefulness, cycles of sleep, wakefulness.

    A row is a hidden point near that of its label, and its features are a fixed linear map of it
    with noise; band powers are exponentials of that. The last row is unscored.

    Args:
        root: the folder; made if it is not there.
        subjects: numbers below 100.
        rows: number of rows of each night, 40 or more; a third is wakefulness.
        seed: everything follows from it; a subject's night does not depend on the others.
    """
    folder = Path(root) / "features"
    folder.mkdir(parents=True, exist_ok=True)
    width = len(CHANNELS) * len(FEATURES)
    shared = np.random.default_rng(seed)
    centres, mix = shared.normal(0, 1, (UNSCORED + 1, 8)), shared.normal(0, 1, (8, width))
    powers = np.array([name in POWERS for name in FEATURES * len(CHANNELS)])
    for subject in subjects:
        rng = np.random.default_rng([seed, subject])
        awake = rows // 6
        asleep = np.resize([1, 2, 2, 3, 4, 2, 5, 5], rows - 2 * awake - 1)
        labels = np.concatenate([np.zeros(awake), asleep, np.zeros(awake), [UNSCORED]])
        labels = labels.astype(np.int32)
        hidden = centres[labels] + rng.normal(0, 0.4, (len(labels), 8)) + rng.normal(0, 0.3, 8)
        features = hidden @ mix + rng.normal(0, 0.5, (len(labels), width))
        features[:, powers] = np.exp(features[:, powers] + 25)
        np.savez(folder / f"SC4{subject:02d}1E0.npz", features=features, labels=labels)
    return Path(root)
