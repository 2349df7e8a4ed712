"""A few rows in AV-MNIST's arrays: the place of a bar, and of a band, shows the digit."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_av_mnist_sample(
    root: str | Path, *, train_rows: int = 100, test_rows: int = 40, seed: int = 0
) -> Path:
    """Writes the six arrays; the digits alternate.

    Args:
        root: the folder; made if it is not there.
        train_rows: 20 or more, so that each digit can be held out.
        test_rows: 10 or more.
        seed: everything follows from it.
    """
    root = Path(root)
    for name in ("image", "audio"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", train_rows), ("test", test_rows)):
        rng = np.random.default_rng([seed, rows, len(part)])
        digits = np.arange(rows) % 10
        image = rng.integers(0, 60, (rows, 28, 28))
        audio = rng.integers(0, 60, (rows, 112, 112))
        for row, digit in enumerate(digits):
            image[row, :, 2 * digit + 3 : 2 * digit + 5] += 150
            audio[row, 10 * digit + 4 : 10 * digit + 10] += 150
        np.save(root / "image" / f"{part}_data.npy", image.astype(np.uint8).reshape(rows, 784))
        np.save(root / "audio" / f"{part}_data.npy", audio.astype(np.uint8))
        np.save(root / f"{part}_labels.npy", digits)
    return root
