"""MM-IMDb: the genres of films, from the poster or from the plot.

Arevalo, Solorio, Montes-y-Gómez, González, "Gated multimodal units for information fusion", ICLR
2017 workshop: 25,959 films, each of one to ten of 23 genres.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from xdistill.data.cards import DatasetCard
from xdistill.data.files.hdf5 import OutsideError, open_dataset, open_hdf5
from xdistill.data.files.hdf5_column import HDF5Column
from xdistill.data.files.json_file import parse_json
from xdistill.data.files.names import check_names
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.registry import register_dataset

FILE = "multimodal_imdb.hdf5"
ARRAYS = {
    "text_features": ("features", (300,)),
    "image_features": ("vgg_features", (4096,)),
    "image": ("images", (3, 256, 160)),
}
"""For each column the name of its array in the file and the shape of a row."""
PARTS = ("train", "dev", "test")
MEAN_BGR = (103.939, 116.779, 123.68)
"""What the authors subtracted from the posters: ImageNet's mean blue, green and red, of 255."""
CARD = DatasetCard(
    name="mm_imdb",
    pairs=(
        ("text_features", "image_features"),
        ("text_features", "image"),
        ("image_features", "text_features"),
    ),
    classes=23,
    size="25,959 films, several genres each: 15,552 for training, 2,608 for validation, 7,799 for "
    "testing; 17 GB",
    licence="none stated; for research",
    citation="Arevalo, Solorio, Montes-y-Gómez, González, Gated Multimodal Units for Information "
    "Fusion, ICLR 2017 workshop",
    source_url="https://github.com/johnarevalo/gmu-mmimdb",
    files=(FILE,),
)


@register_dataset(CARD)
def mm_imdb(
    root: str | Path,
    *,
    modalities: Sequence[str] = ("text_features", "image_features"),
    allow_outside: bool = False,
) -> Splits:
    """MM-IMDb as three paired datasets; a row is read from the file when it is asked for.

    - ``text_features`` float32 [300]: the mean of the plot's word2vec vectors. A film lacks it if
      none of the plot's words has a vector.
    - ``image_features`` float32 [4096]: VGG-16's last hidden layer for the poster.
    - ``image`` float32 [3, 256, 160] from 0 to 1: the poster in red, green and blue.

    A film may have several genres: `target` is [N, 23], for `BinaryCrossEntropy`. The split is the
    authors', stratified by genre. Every film is in one part, so no other split is needed.

    Args:
        root: holds ``multimodal_imdb.hdf5``.
        modalities: of "text_features", "image_features" and "image".
        allow_outside: follow links of the file to other files.

    Raises:
        FileNotFoundError: the file is missing; the message says where to get it.
        ValueError: an unknown modality, or a file that is damaged or has other arrays.
    """
    names = check_modalities(modalities, ARRAYS)
    path = Path(root).expanduser() / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the layout is <root>/{FILE}, distributed at {CARD.source_url}"
        )
    films = _read(path, names, allow_outside)
    dataset = PairedDataset(
        {
            name: HDF5Column(
                path,
                ARRAYS[name][0],
                len(films.ids),
                _poster if name == "image" else _features,
                allow_outside=allow_outside,
            )
            for name in names
        },
        films.target,
        classes=films.genres,
        ids=films.ids,
        valid=films.valid,
    )
    return Splits(*(dataset.subset(range(*bounds)) for bounds in films.parts))


class Films(NamedTuple):
    """What the file says of all films.

    Attributes:
        target: [N, K] 1 for each genre of the film, else 0.
        genres: names of the genres.
        ids: IMDb's numbers of the films.
        valid: which films have text features, if those are asked for.
        parts: first film and the one after the last of each part.
    """

    target: Int64[Tensor, "n k"]
    genres: tuple[str, ...]
    ids: tuple[str, ...]
    valid: dict[str, Tensor]
    parts: list[tuple[int, int]]


def _read(path: Path, names: tuple[str, ...], allow_outside: bool) -> Films:
    array = partial(open_dataset, allow_outside=allow_outside)
    try:
        with open_hdf5(path) as file:
            genres = array(file, "genres")
            films = Films(
                _zeros_and_ones(genres),
                tuple(map(str, parse_json(genres.attrs["target_names"]))),
                tuple(name.decode() for name in np.asarray(array(file, "imdb_ids"))),
                _with_text(array(file, "features")) if "text_features" in names else {},
                [_bounds(file.attrs["split"], part) for part in PARTS],
            )
            shapes = {name: array(file, ARRAYS[name][0]).shape for name in names}
    except ImportError:
        raise
    except OutsideError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as MM-IMDb's HDF5 file ({type(error).__name__}: {error}); it "
            "may be truncated: copy it again"
        ) from error
    check_names(films.ids, path)
    count = len(films.ids)
    expected = {name: (count, *ARRAYS[name][1]) for name in names}
    if shapes != expected or films.target.shape != (count, len(films.genres)):
        raise ValueError(
            f"{path} has {count} imdb_ids, genres of shape {tuple(films.target.shape)} under "
            f"{len(films.genres)} names, and {shapes}, expected as many films everywhere and "
            f"{expected}; copy it again"
        )
    covered = [film for bounds in films.parts for film in range(*bounds)]
    if sorted(covered) != list(range(count)):
        raise ValueError(
            f"{path} has parts {films.parts}, expected each of {count} films in one of "
            "them; copy it again"
        )
    return films


def _zeros_and_ones(genres: Any) -> Int64[Tensor, "n k"]:
    stored = np.asarray(genres)
    if not np.isin(stored, (0, 1)).all():
        raise ValueError(
            f"genres has the values {np.unique(stored)[:12].tolist()}, expected 0 and 1"
        )
    return torch.from_numpy(stored.astype(np.int64))


def _with_text(features: Any) -> dict[str, Tensor]:
    """The films that have text features; the mean of no vectors is NaN."""
    whole = np.isfinite(np.asarray(features)).all(axis=1)
    return {"text_features": torch.from_numpy(whole)}


def _bounds(split: np.ndarray, part: str) -> tuple[int, int]:
    """First film of a part and the one after the last, from Fuel's table of parts and arrays."""
    own = (split["split"] == part.encode()) & (split["source"] == b"genres")
    return int(split["start"][own].item()), int(split["stop"][own].item())


def _features(stored: np.ndarray) -> Float[Tensor, " d"]:
    return torch.from_numpy(stored.astype(np.float32))


def _poster(stored: np.ndarray) -> Float[Tensor, "c h w"]:
    pixels = torch.from_numpy(stored.astype(np.float32)) + torch.tensor(MEAN_BGR)[:, None, None]
    return pixels.flip(0).clamp(0, 255) / 255
