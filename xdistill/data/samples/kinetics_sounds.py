"""A few films in Kinetics-Sounds' lists, sounds and frames: tones and coloured squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xdistill.data.samples.clip_files import write_frames, write_tone


def write_kinetics_sounds_sample(root: str | Path, *, films: int = 8, seed: int = 0) -> Path:
    """Writes both lists and, in a folder for each clip, sound and frames, of three classes.

    The last two of ``films`` films of a class are for testing; the first film of class 0 has a
    second clip, which is tested.
    """
    root = Path(root)
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label in range(3):
        for film in range(films):
            tested = film >= films - 2
            clips = [(film, "test" if tested else "train")]
            clips += [(film + 60, "test")] if label == film == 0 else []
            for start, part in clips:
                name = f"-{label}x_{film:07d}_{start}"
                rng = np.random.default_rng([seed, label, start])
                write_tone(root / part / name / f"{name}.wav", label, rng, seconds=1.0)
                write_frames(root / part / name, label, rng)
                lists[part].append(f"{name},10,{label}")
    for name, lines in lists.items():
        (root / f"my_{name}.txt").write_text("\n".join(lines) + "\n")
    return root
