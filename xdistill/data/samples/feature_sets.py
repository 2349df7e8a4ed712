"""Small stand-ins for the feature files of CrisisMMD and VGGSound-50k: a direction for a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from xdistill.data.adapters.crisismmd import CATEGORIES
from xdistill.data.adapters.crisismmd import FILE as CRISISMMD_FILE
from xdistill.data.adapters.crisismmd import ORDER as CRISISMMD_ORDER
from xdistill.data.adapters.vggsound_50k import FEATURES, FILES, LIST, ORDER, SHAPES


def write_crisismmd_sample(root: str | Path, *, posts: int = 80, seed: int = 0) -> Path:
    """Writes ``CMMD_data.pth`` and an order of its rows; every fourth post has two images.

    Args:
        root: the folder; made if it is not there.
        posts: 24 or more.
        seed: everything follows from it.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    post = np.repeat(np.arange(posts), [1 + (at % 4 == 3) for at in range(posts)])
    labels = post % len(CATEGORIES)
    centres = [rng.normal(0, 1, (len(CATEGORIES), width)) for width in (2048, 768)]
    image = centres[0][labels] + rng.normal(0, 1, (len(post), 2048))
    text = (centres[1][np.arange(posts) % 8] + rng.normal(0, 1, (posts, 768)))[post]
    torch.save((image.astype(np.float32), text.astype(np.float32), labels), root / CRISISMMD_FILE)
    _write_orders(root / CRISISMMD_ORDER, len(post), rng)
    return root


def write_vggsound_50k_sample(root: str | Path, *, films: int = 24, seed: int = 0) -> Path:
    """Writes the list, features of three classes, and an order; every sixth film has two clips."""
    root = Path(root)
    rng = np.random.default_rng(seed)
    centres = {name: rng.normal(0, 1, (3, shape[-1])) for name, shape in SHAPES.items()}
    lines = []
    for film in range(films):
        for start in (0, 30) if film % 6 == 5 else (0,):
            name = f"vid_{film:07d}_{start:06d}"
            for kind, shape in SHAPES.items():
                path = root / FEATURES / FILES[kind].format(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                features = centres[kind][film % 3] + rng.normal(0, 1, shape)
                np.save(path, features.astype(np.float32))
            lines.append(f"{name}&{film % 3}")
    (root / LIST).write_text("\n".join(lines) + "\n")
    _write_orders(root / ORDER, len(lines), rng)
    return root


def _write_orders(path: Path, rows: int, rng: np.random.Generator) -> None:
    orders = np.stack([rng.permutation(rows) for _ in range(2)], axis=1)
    lines = ["group_0,group_1", *(f"{first},{second}" for first, second in orders)]
    path.write_text("\n".join(lines) + "\n")
