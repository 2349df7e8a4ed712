"""A few posts in CrisisMMD's file of features: each category has a direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from xdistill.data.adapters.crisismmd import CATEGORIES, FILE, ORDER
from xdistill.data.samples.row_orders import write_orders


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
    torch.save((image.astype(np.float32), text.astype(np.float32), labels), root / FILE)
    write_orders(root / ORDER, len(post), rng)
    return root
