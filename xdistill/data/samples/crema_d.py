"""A few actors in CREMA-D's lists, sounds and frames: tones and coloured squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xdistill.data.adapters.crema_d import EMOTIONS
from xdistill.data.samples.clip_files import write_frames, write_tone

SENTENCES = ("IEO", "DFA", "TIE")


def write_crema_d_sample(root: str | Path, *, actors: int = 6, seed: int = 0) -> Path:
    """Writes both lists, a sound and two frames for three sentences of each emotion and actor.

    The first two sentences are in the training list, the third in the test list.

    Args:
        root: the folder; made if it is not there.
        actors: 3 or more, for a split without shared actors.
        seed: everything follows from it.
    """
    root = Path(root)
    lists: tuple[list[str], list[str]] = ([], [])
    for actor in range(1001, 1001 + actors):
        for label, emotion in enumerate(EMOTIONS):
            for at, sentence in enumerate(SENTENCES):
                name = f"{actor}_{sentence}_{emotion}_XX"
                rng = np.random.default_rng([seed, actor, label, at])
                write_tone(root / "AudioWAV" / f"{name}.wav", label, rng, seconds=1.0)
                write_frames(root / "Image-01-FPS" / name, label, rng)
                lists[at == 2].append(f"{name},{emotion}")
    for name, lines in zip(("train", "test"), lists, strict=True):
        (root / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return root
