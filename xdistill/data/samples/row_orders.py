"""A file of published orders of rows, as MST-Distill has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_orders(path: Path, rows: int, rng: np.random.Generator) -> None:
    """Writes two random orders."""
    orders = np.stack([rng.permutation(rows) for _ in range(2)], axis=1)
    lines = ["group_0,group_1", *(f"{first},{second}" for first, second in orders)]
    path.write_text("\n".join(lines) + "\n")
