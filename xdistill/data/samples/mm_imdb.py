"""A few films in MM-IMDb's file: each genre brightens a colour and adds a direction to features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from xdistill.data.adapters.mm_imdb import FILE, MEAN_BGR, PARTS
from xdistill.data.files.extra import reader

GENRES = ("Drama", "Comedy", "Romance")
ARRAYS = ("features", "vgg_features", "images", "imdb_ids", "genres")


def write_mm_imdb_sample(root: str | Path, *, films: int = 60, seed: int = 0) -> Path:
    """Writes ``multimodal_imdb.hdf5`` with ``films`` films of one to three of three genres.

    The parts have 60, 10 and 30 % of them. The last film has no text features.

    Args:
        root: the folder; made if it is not there.
        films: 20 or more.
        seed: everything follows from it.
    """
    h5py = reader("h5py", root)
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    kinds = 1 + np.arange(films) % (2 ** len(GENRES) - 1)  # every set of genres but the empty one
    genres = (kinds[:, None] >> np.arange(len(GENRES))) & 1
    text, vgg = (
        genres @ rng.normal(0, 1, (len(GENRES), width)) + rng.normal(0, 1, (films, width))
        for width in (300, 4096)
    )
    text[-1] = np.nan
    stripes = 60 + 120 * genres[:, :, None, None] + rng.normal(0, 10, (films, 3, 256, 1))
    rgb = np.broadcast_to(stripes, (films, 3, 256, 160))
    posters = rgb[:, ::-1] - np.array(MEAN_BGR)[:, None, None]
    with h5py.File(root / FILE, "w") as file:
        file["features"] = text.astype(np.float32)
        file["vgg_features"] = np.maximum(vgg, 0).astype(np.float32)
        file.create_dataset("images", data=posters.astype(np.int32), compression="lzf")
        file["imdb_ids"] = np.array([f"{9000 + film:07d}" for film in range(films)], dtype="S7")
        file["genres"] = genres.astype(np.int32)
        file["genres"].attrs["target_names"] = json.dumps(GENRES)
        file.attrs["split"] = _parts(films)
    return root


def _parts(films: int) -> np.ndarray:
    """Fuel's table: the rows of each array in each part."""
    h5py = reader("h5py", "the table of parts")
    kind = [("split", "S5"), ("source", "S12"), ("start", "<i8"), ("stop", "<i8")]
    kind += [("indices", h5py.regionref_dtype), ("available", "?"), ("comment", "S1")]
    cuts = [0, int(0.6 * films), int(0.7 * films), films]
    rows = [
        (part, source, cuts[at], cuts[at + 1], None, True, b".")
        for at, part in enumerate(PARTS)
        for source in ARRAYS
    ]
    return np.array(rows, dtype=kind)
