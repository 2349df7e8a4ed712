"""One simulated sleeper's night as files in S3VE's layout, and what the annotations say of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xdistill.data.files.clips import write_clip
from xdistill.data.simulation.config import SampleConfig
from xdistill.data.simulation.eeg import render_eeg
from xdistill.data.simulation.elsewhere import record_elsewhere
from xdistill.data.simulation.hypnogram import Night, simulate_night
from xdistill.data.simulation.infrared import FRAMES, film_night
from xdistill.data.sleep_stages import EPOCH_S, STAGES

ELSEWHERE = "elsewhere"
"""The folder of the sleepers elsewhere, inside that of the sample."""
ELSEWHERE_KEY = 1_000_000  # in the seeds, beyond the number of any sleeper of the sample


def write_night(root: Path, config: SampleConfig, sleeper: int) -> dict[str, dict]:
    """Simulates and writes one sleeper; returns the annotations of the clips.

    Those elsewhere have the numbers that follow the subjects'.
    """
    if sleeper >= config.subjects:
        return _write_night_elsewhere(root / ELSEWHERE, config, sleeper - config.subjects)
    sleep_rng, eeg_rng, video_rng = generators(config.seed, sleeper)
    night = simulate_night(sleep_rng, config.night_epochs)
    keep = _kept_epochs(config)
    eeg = render_eeg(eeg_rng, night.state[keep], night.depth[keep], night.arousal[keep])
    video = film_night(video_rng, night.state, night.depth, night.arousal, keep)
    name = f"s{sleeper + 1:02d}"
    for clip_id, label, clip in zip(*_clips(name, night, keep), video, strict=True):
        write_clip(root / "video" / label / f"{clip_id}.hdf5", clip)
    return _write_eeg(root, name, config.subset(sleeper), night, keep, eeg)


def _write_night_elsewhere(root: Path, config: SampleConfig, number: int) -> dict[str, dict]:
    sleep_rng, eeg_rng, device_rng = generators(config.seed, ELSEWHERE_KEY, number)
    night = simulate_night(sleep_rng, config.night_epochs)
    keep = _kept_epochs(config)
    eeg = render_eeg(eeg_rng, night.state[keep], night.depth[keep], night.arousal[keep])
    eeg = record_elsewhere(device_rng, eeg)
    return _write_eeg(root, f"e{number + 1:02d}", "training", night, keep, eeg)


def generators(seed: int, *key: int) -> list[np.random.Generator]:
    """Three independent sources of randomness of one sleeper: of sleep, EEG and video."""
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return [np.random.default_rng(child) for child in sequence.spawn(3)]


def _kept_epochs(config: SampleConfig) -> np.ndarray:
    """The epochs of a night of which there are clips, evenly spread."""
    return np.linspace(0, config.night_epochs, config.clips_per_night, endpoint=False).astype(int)


def _clips(name: str, night: Night, keep: np.ndarray) -> tuple[list[str], list[str]]:
    """Id and label of each kept epoch."""
    ids = [f"{name}_{epoch:04d}" for epoch in keep.tolist()]
    return ids, [STAGES[stage] for stage in night.stage[keep]]


def _write_eeg(
    root: Path, name: str, subset: str, night: Night, keep: np.ndarray, eeg: np.ndarray
) -> dict[str, dict]:
    """Writes the EEG of a night; returns the annotations of its clips."""
    entries = {}
    ids, labels = _clips(name, night, keep)
    for epoch, clip_id, label, wave in zip(keep.tolist(), ids, labels, eeg, strict=True):
        np.save(root / "eeg" / label / f"{clip_id}.npy", wave)
        entries[clip_id] = {
            "subset": subset,
            "subject": name,
            "night_s": epoch * EPOCH_S,
            "annotations": {"label": label, "segment": [1, FRAMES + 1]},
        }
    return entries
