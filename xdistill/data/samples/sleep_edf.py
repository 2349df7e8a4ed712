"""Short nights in Sleep-EDF's files: the band of noise and the rate of breathing show the stage.

Only the layout is realistic; `xdistill.data.simulation` simulates sleep.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from xdistill.data.files.edf import Waveform, write_edf, write_edf_annotations
from xdistill.data.simulation.eeg import band, pink
from xdistill.data.sleep_stages import EPOCH_S, stage_of

CYCLE = "W 1 2 3 4 3 2 M R 2 1 R".split()
"""Blocks of a night between two of wakefulness; M is movement time."""
LETTERS = {"M": "Movement time"}
RHYTHM_HZ = ((8.5, 11.5), (4.0, 7.5), (12.0, 15.0), (0.6, 2.0), (17.0, 25.0))
"""The band that is strongest in each stage."""
RHYTHM_UV = (25.0, 20.0, 20.0, 60.0, 15.0)
EYES_UV = (80.0, 40.0, 8.0, 8.0, 60.0)
MUSCLE_UV = (3.0, 2.0, 1.5, 1.2, 0.4)
BREATH_HZ = (0.27, 0.24, 0.22, 0.20, 0.25)
BREATH_NOISE = (400.0, 200.0, 100.0, 40.0, 300.0)


def write_sleep_edf_sample(
    root: str | Path,
    *,
    subjects: Sequence[int] = range(6),
    nights: int = 1,
    epochs: int = 60,
    unscored: int = 4,
    seed: int = 0,
) -> Path:
    """Writes recordings of seven signals and their hypnograms into ``<root>/sleep-cassette``.

    Args:
        root: the folder; made if it is not there.
        subjects: their numbers, below 100.
        nights: number of nights of each subject, up to nine.
        epochs: length of a recording in epochs of 30 s; an epoch takes 18 kB. From 25 on it has all
            stages; a shorter one is the beginning of the night.
        unscored: number of epochs '?' in the hypnogram after the end of the recording.
        seed: everything follows from it.
    """
    if epochs < 3:
        raise ValueError(
            f"epochs is 3 or more, so that the night has an epoch of sleep, got {epochs}"
        )
    folder = Path(root) / "sleep-cassette"
    folder.mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        for night in range(1, nights + 1):
            rng = np.random.default_rng([seed, subject, night])
            name = f"SC4{subject:02d}{night}E"
            start = datetime(1989, 4, 24, 16, 13) + timedelta(days=7 * subject + night)
            patient = "X F X Female_33yr"
            blocks = _blocks(rng, epochs)
            stages = np.repeat(
                [0 if (stage := stage_of(text)) is None else stage for _, _, text in blocks],
                [int(length_s) // EPOCH_S for _, length_s, _ in blocks],
            )
            signals = _signals(rng, stages)
            write_edf(folder / f"{name}0-PSG.edf", signals, start=start, patient=patient)
            if unscored:
                end_s, length_s = float(EPOCH_S * epochs), float(EPOCH_S * unscored)
                blocks.append((end_s, length_s, "Sleep stage ?"))
            scored = folder / f"{name}C-Hypnogram.edf"
            write_edf_annotations(scored, blocks, start=start, patient=patient)
    return Path(root)


def _blocks(rng: np.random.Generator, epochs: int) -> list[tuple[float, float, str]]:
    """One cycle between wakefulness; a block has two or more epochs, movement time one."""
    letters = [*CYCLE, "W"]
    lengths = np.array([1 if letter == "M" else 2 for letter in letters])
    growing = [at for at, letter in enumerate(letters) if letter != "M"]
    left = max(0, epochs - lengths.sum())
    lengths[growing] += rng.multinomial(left, np.full(len(growing), 1 / len(growing)))
    starts = np.cumsum(lengths) - lengths
    lengths = np.minimum(lengths, epochs - starts)
    return [
        (
            float(EPOCH_S * start),
            float(EPOCH_S * length),
            LETTERS.get(letter, f"Sleep stage {letter}"),
        )
        for start, length, letter in zip(starts, lengths, letters, strict=True)
        if length > 0
    ]


def _signals(rng: np.random.Generator, stages: np.ndarray) -> list[Waveform]:
    """Signals of a night whose epochs have these stages, with the recorder's labels."""
    n, gain = len(stages), rng.lognormal(0, 0.15)
    rhythm = np.zeros((n, EPOCH_S * 100))
    for stage, (low_hz, high_hz) in enumerate(RHYTHM_HZ):
        mine = stages == stage
        rhythm[mine] = RHYTHM_UV[stage] * band(rng, int(mine.sum()), low_hz, high_hz)
    front = gain * (rhythm + 10 * pink(rng, n))
    back = gain * (0.7 * rhythm + 8 * pink(rng, n))
    eyes = np.array(EYES_UV)[stages, None] * band(rng, n, 0.3, 1.5) + 0.3 * front
    seconds = np.arange(n * EPOCH_S)
    each_s = np.repeat(stages, EPOCH_S)
    muscle = gain * np.array(MUSCLE_UV)[each_s] * rng.lognormal(0, 0.2, len(seconds))
    breath = 500 * np.sin(2 * np.pi * np.cumsum(np.array(BREATH_HZ)[each_s]))
    breath += np.array(BREATH_NOISE)[each_s] * rng.normal(size=len(seconds))
    return [
        Waveform("EEG Fpz-Cz", "uV", 100, 192.0, front.ravel()),
        Waveform("EEG Pz-Oz", "uV", 100, 197.0, back.ravel()),
        Waveform("EOG horizontal", "uV", 100, 1009.0, eyes.ravel()),
        Waveform("Resp oro-nasal", "", 1, 2048.0, breath),
        Waveform("EMG submental", "uV", 1, 5.0, muscle),
        Waveform("Temp rectal", "DegC", 1, 40.0, 37 + 0.001 * rng.normal(size=len(seconds))),
        Waveform("Event marker", "", 1, 2047.0, np.zeros(len(seconds))),
    ]
