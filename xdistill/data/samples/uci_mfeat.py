"""A stand-in for the six files of UCI's multiple features: noisy features of the same numerals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xdistill.data.adapters.uci_mfeat import FEATURES, ROWS


def write_uci_mfeat_sample(
    root: str | Path,
    *,
    modalities: Sequence[str] = ("fac", "mor"),
    csv: bool = False,
    seed: int = 0,
) -> Path:
    """Writes ``mfeat-<name>`` (or, as csv, ``mfeat-<name>.csv``) with all 2,000 rows.

    A digit is a point in eight dimensions, a numeral a point near it, and a set of features a fixed
    linear map of the numeral with noise of its own: the sets share more than the digit.

    Args:
        root: the folder; made if it is not there.
        modalities: which files.
        csv: write a line of names and the digit in the last column.
        seed: everything follows from it; a file does not depend on which others are written.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    digits = np.arange(10).repeat(ROWS // 10)
    rng = np.random.default_rng(seed)
    numerals = rng.normal(0, 1, (10, 8))[digits] + rng.normal(0, 0.7, (ROWS, 8))
    for name in modalities:
        width = FEATURES[name]
        own = np.random.default_rng([seed, list(FEATURES).index(name)])
        table = numerals @ own.normal(0, 10, (8, width)) + own.normal(0, 10, (ROWS, width)) + 50
        if csv:
            names = ",".join([*map(str, range(width)), "0"])
            table = np.column_stack([table, digits])
            formats = ["%.2f"] * width + ["%d"]
            np.savetxt(root / f"mfeat-{name}.csv", table, formats, ",", header=names, comments="")
        else:
            np.savetxt(root / f"mfeat-{name}", table, "%.2f")
    return root
