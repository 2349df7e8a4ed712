"""A few films in AVE's lists, sounds and frames: tones and coloured squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xdistill.data.samples.clip_files import write_frames, write_tone


def write_ave_sample(root: str | Path, *, films: int = 6, seed: int = 0) -> Path:
    """Writes the three lists, a sound and frames of ``films`` films of each of three kinds.

    Four of six films are for training, one each for validation and testing; one film of the
    test list is also in the training list, with another event, as happens in the real lists.
    """
    root = Path(root)
    kinds = ("Church bell", "Bark", "Flute")
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, kind in enumerate(kinds):
        for film in range(films):
            name = f"{kind[0]}{film:010d}"
            rng = np.random.default_rng([seed, label, film])
            write_tone(root / "Audio-1004-SE" / f"{name}.wav", label, rng, seconds=1.0)
            write_frames(root / "Image-01-FPS-SE" / name, label, rng)
            part = "test" if film == films - 1 else "val" if film == films - 2 else "train"
            lists[part].append(f"{kind}&{name}&good&0&{film + 4}")
    lists["train"].append(lists["test"][0].replace("&good&0", "&bad&3"))
    for name, lines in lists.items():
        (root / f"{name}Set.txt").write_text("\n".join(lines) + "\n")
    return root
