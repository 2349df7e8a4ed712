"""What is true of a simulated night, as a JSON file beside it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.sleep.simulated.options import NightOptions
from xdistill.sleep.simulated.scene import Scene

RESTLESS = 0.02
"""Speed of the parts, in halves of the picture a second, from which a second has movement."""


def write_truth(path: Path, scene: Scene, options: NightOptions) -> None:
    """Writes options, clocks, turns and epochs; times are in seconds since the EEG's first sample.

    Of each epoch: stage, ``breathing_rate`` per minute, ``breathing_spread`` (standard deviation of
    the breaths' lengths over their mean), ``position_changes``, and ``movement_s``.
    """
    first = round(-scene.first_s / EPOCH_S)
    turns = scene.turns.start_s
    truth = {
        "options": asdict(options) | {"start": options.start.isoformat()},
        "offset_s": options.film_late_s,
        "drift": options.film_drift,
        "turns_s": turns.round(4).tolist(),
        "turn_lengths_s": scene.turns.length_s.round(4).tolist(),
        "epochs": [
            {"stage": STAGES[scene.night.stage[first + epoch]], **_epoch(scene, epoch * EPOCH_S)}
            for epoch in range(options.epochs)
        ],
    }
    path.write_text(json.dumps(truth, indent=1) + "\n")


def _epoch(scene: Scene, start_s: float) -> dict[str, float | int]:
    starts = scene.breaths.starts_s
    first, last = np.searchsorted(starts, (start_s, start_s + EPOCH_S))
    lengths = np.diff(starts[first : last + 1])
    turns = scene.turns.start_s
    moving = scene.movement(start_s + np.arange(EPOCH_S) + 0.5) > RESTLESS
    return {
        "breathing_rate": round(float(60 / lengths.mean()), 3),
        "breathing_spread": round(float(lengths.std() / lengths.mean()), 4),
        "position_changes": int(((turns >= start_s) & (turns < start_s + EPOCH_S)).sum()),
        "movement_s": int(moving.sum()),
    }
