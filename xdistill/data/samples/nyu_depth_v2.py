"""A few rooms in NYU Depth V2's two files: the kind of room decides colour and depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xdistill.data.adapters.nyu_depth_v2 import FILE, SPLITS_FILE
from xdistill.data.files.extra import reader

KINDS = ("bedroom", "kitchen", "study")
WIDTH, HEIGHT = 64, 48


def write_nyu_depth_v2_sample(root: str | Path, *, rooms: int = 8, seed: int = 0) -> Path:
    """Writes two frames of ``rooms`` rooms of each of three kinds, a tenth of the real size.

    Two rooms of each kind are for testing. "study" is not one of the nine frequent kinds.

    Args:
        root: the folder; made if it is not there.
        rooms: of each kind, 4 or more.
        seed: everything follows from it.
    """
    root = Path(root)
    h5py, io = reader("h5py", root), reader("scipy.io", root, "video")
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    kinds, names, images, depths, test = [], [], [], [], []
    for label, kind in enumerate(KINDS):
        for room in range(rooms):
            for _ in range(2):
                kinds.append(kind)
                names.append(f"{kind}_{room:04d}")
                image = rng.integers(0, 80, (3, WIDTH, HEIGHT))
                image[label] += 120
                images.append(image.astype(np.uint8))
                slope = np.linspace(1, 2 + label, HEIGHT)
                depths.append((slope + rng.normal(0, 0.1, (WIDTH, HEIGHT))).astype(np.float32))
                test.append(room >= rooms - 2)
    with h5py.File(root / FILE, "w") as file:
        file["images"], file["depths"] = np.stack(images), np.stack(depths)
        cells = file.create_group("#refs#")
        for name, values in (("sceneTypes", kinds), ("scenes", names)):
            references = np.empty((1, len(values)), dtype=h5py.ref_dtype)
            for at, text in enumerate(values):
                cell = cells.create_dataset(
                    f"{name}{at}", data=np.array([[ord(letter)] for letter in text], np.uint16)
                )
                references[0, at] = cell.ref
            file[name] = references
    numbers = np.arange(1, len(test) + 1)[:, None].astype(np.uint16)
    chosen = np.array(test)
    io.savemat(root / SPLITS_FILE, {"trainNdxs": numbers[~chosen], "testNdxs": numbers[chosen]})
    return root
