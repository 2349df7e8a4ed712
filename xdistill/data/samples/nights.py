"""Simulated nights in the layout of a prepared folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xdistill.data.adapters.nights import (
    NightRecord,
    NightStatus,
    write_epochs,
    write_night,
    write_prepared,
)
from xdistill.data.adapters.nights.layout import NO_VIDEO
from xdistill.data.simulation.eeg import render_eeg
from xdistill.data.simulation.hypnogram import MICRO_PER_EPOCH, Night, simulate_night
from xdistill.data.simulation.infrared import film_night
from xdistill.data.sleep_stages import EPOCH_S, STAGES

RATE_HZ = 10


def write_nights_sample(
    root: str | Path,
    *,
    subjects: int = 4,
    epochs: int = 40,
    size: int = 16,
    gap: bool = True,
    spread: bool = True,
    seed: int = 0,
) -> Path:
    """Writes a night of each sleeper as `xdistill prepare` does; the first one has two.

    Clips have 30 frames, at one a second, and the body's signals are the mean change between
    frames and the course that most pixels follow. YASA's probabilities are made up: those of the
    stage, spread. With `gap`, the third epoch of a night has no clip and the fourth no EEG, and
    the last one is unscored.

    Args:
        root: the folder; made if it is not there.
        subjects: simulated sleepers.
        epochs: of each night.
        spread: choose them evenly over eight hours, so that few show all stages; else they are the
            night's first ones, as they follow each other.
        size: side of a frame in pixels, a divisor of 48.
        gap: leave out what the text above says.
        seed: everything follows from it.
    """
    root = Path(root)
    nights = {}
    for number in range(-1, subjects):
        rng = np.random.default_rng([seed, max(number, 0), int(number < 0)])
        subject = f"s{max(number, 0) + 1:02d}"
        name = f"{subject}-n{2 if number < 0 else 1}"
        write_night(root, _night(rng, name, subject, epochs, size, gap, spread))
        nights[name] = NightStatus(subject, "done")
    video = {"frames": 30, "size": size, "body_rate_hz": RATE_HZ, "grid": 1}
    write_prepared(root, {"video": video}, nights)
    write_epochs(root)
    return root


def _night(
    rng: np.random.Generator,
    name: str,
    subject: str,
    epochs: int,
    size: int,
    gap: bool,
    spread: bool,
) -> NightRecord:
    whole = simulate_night(rng)
    last = len(whole.stage) if spread else epochs
    keep = np.linspace(0, last, epochs, endpoint=False).astype(int)
    film = film_night(rng, whole.state, whole.depth, whole.arousal, keep)
    side = film.shape[-1] // size
    video = film.reshape(epochs, -1, size, side, size, side).mean(axis=(3, 5)).astype(np.uint8)
    body = _body(video)
    eeg = _eeg(rng, whole, keep)
    stages = whole.stage[keep].astype(np.int8)
    marks: list[frozenset[str]] = [frozenset() for _ in range(epochs)]
    yasa = np.full((epochs, len(STAGES)), 0.05, np.float32)
    yasa[np.arange(epochs), stages] = 1 - 0.05 * (len(STAGES) - 1)
    if gap:
        marks[2], marks[3] = frozenset({NO_VIDEO}), frozenset({"no_eeg"})
        body[2], eeg[3], yasa[3], stages[-1] = np.nan, np.nan, np.nan, -1
        marks[-1] = frozenset({"unscored"})
    features = np.stack([body[:, 1].mean(axis=1), body[:, 0].std(axis=1)], axis=1)
    return NightRecord(
        name=name,
        subject=subject,
        start=f"2024-03-0{name[-1]}T22:00:00",
        start_s=np.arange(epochs) * float(EPOCH_S),
        stages=stages,
        yasa=yasa,
        marks=tuple(marks),
        features=features.astype(np.float32),
        feature_names=("activity", "breathing_amplitude"),
        video=video,
        body=body,
        signals={"eeg": eeg},
        facts={
            "video": {"frames": 30, "size": size, "body_rate_hz": RATE_HZ, "grid": 1},
            "body": {"channels": ["breathing", "activity", "activity_0_0"], "rate_hz": RATE_HZ},
            "signals": {"eeg": {"channels": ["C4-M1"], "rate_hz": 100, "unit": "uV"}},
        },
    )


def _eeg(rng: np.random.Generator, night: Night, keep: np.ndarray) -> np.ndarray:
    assert night.state.shape[1] == MICRO_PER_EPOCH
    return render_eeg(rng, night.state[keep], night.depth[keep], night.arousal[keep])[:, None]


def _body(video: np.ndarray) -> np.ndarray:
    """float32 [E, 3, 300]: the principal course of the frames, and the change between them."""
    frames = video.reshape(len(video), video.shape[1], -1).astype(np.float32)
    frames -= frames.mean(axis=1, keepdims=True)
    left, scale, _ = np.linalg.svd(frames, full_matrices=False)
    course = left[:, :, 0] * scale[:, :1]
    change = np.abs(np.diff(frames, axis=1, prepend=frames[:, :1])).mean(axis=2)
    seconds = np.arange(EPOCH_S * RATE_HZ) / RATE_HZ
    grid = np.arange(video.shape[1])
    rows = [
        [np.interp(seconds, grid, one) for one in (course[at], change[at], change[at])]
        for at in range(len(video))
    ]
    return np.array(rows, np.float32)
