"""A few films in VGGSound-50k's list and features: each class has a direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xdistill.data.adapters.vggsound_50k import FEATURES, FILES, LIST, ORDER, SHAPES
from xdistill.data.samples.row_orders import write_orders


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
    write_orders(root / ORDER, len(lines), rng)
    return root
