"""A few films in CCL's layout: annotations, frames and features of the sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from xdistill.data.files.panns import FOLDERS
from xdistill.data.samples.clip_files import write_frames


def write_ccl_sample(
    root: str | Path, *, name: str = "activitynet", films: int = 8, seed: int = 0
) -> Path:
    """Writes ``<name>_13.json``, frames and features of ``films`` films of each of three classes.

    Two films of each class have the subset "validation", the others "training".

    Args:
        root: the folder; made if it is not there.
        name: "activitynet" or "vggsound".
        films: of each class, 4 or more.
        seed: everything follows from it.
    """
    root = Path(root)
    labels = ["Archery", "Breakdancing", "Curling"]
    centres = np.random.default_rng(seed).normal(0, 1, (len(labels), 512))
    (root / FOLDERS[0]).mkdir(parents=True, exist_ok=True)
    database = {}
    for number, label in enumerate(labels):
        for film in range(films):
            rng = np.random.default_rng([seed, number, film])
            key = f"{label[0]}{film:09d}x"
            folder = root / "jpg" / f"v_{key}"
            write_frames(folder, number, rng, count=6)
            for at, path in enumerate(sorted(folder.iterdir()), start=1):
                path.replace(folder / f"image_{at:05d}.jpg")
            windows = np.maximum(centres[number] + rng.normal(0, 1, (2, 512)), 0)
            np.save(root / FOLDERS[0] / f"v_{key}.npy", windows.astype(np.float32))
            subset = "validation" if film >= films - 2 else "training"
            database[key] = {
                "subset": subset,
                "annotations": {"label": label, "segment": [1, 5]},
            }
    (root / f"{name}_13.json").write_text(json.dumps({"labels": labels, "database": database}))
    return root
