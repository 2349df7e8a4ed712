"""A few films in VGGSound's lists, sounds and frames: tones and coloured squares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xdistill.data.samples.clip_files import write_frames, write_tone


def write_vggsound_sample(
    root: str | Path,
    *,
    classes: Sequence[str] = ("dog barking", "playing flute, solo", "train horning"),
    films: int = 8,
    seed: int = 0,
) -> Path:
    """Writes ``train_tiny.csv``, ``test_tiny.csv``, sound and frames as C2KD's scripts leave them.

    The last two of ``films`` films of each class are for testing.
    """
    root = Path(root)
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label, kind in enumerate(classes):
        for film in range(films):
            part = "test" if film >= films - 2 else "train"
            name = f"v{label}_{film:08d}_{30 * film:06d}"
            rng = np.random.default_rng([seed, label, film])
            sound = root / f"{part}-audios" / f"{part}-set" / f"{name}.wav"
            write_tone(sound, label, rng, seconds=1.0)
            images = root / f"{part}-videos" / f"{part}-set-img" / "Image-01-FPS"
            write_frames(images / f"{name}.mp4", label, rng)
            lists[part].append(f'v{label}_{film:08d},{30 * film},"{kind}"')
    for name, lines in lists.items():
        (root / f"{name}_tiny.csv").write_text("\n".join(lines) + "\n")
    return root
