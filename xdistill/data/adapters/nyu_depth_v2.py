"""NYU Depth V2: rooms seen by a camera and by a depth sensor; the classes are kinds of room.

Silberman, Hoiem, Kohli, Fergus, "Indoor segmentation and support inference from RGBD images", ECCV
2012: 1,449 labelled frames of 464 rooms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.data.cards import DatasetCard
from xdistill.data.files.hdf5 import OutsideError, open_dataset, open_hdf5
from xdistill.data.files.hdf5_column import HDF5Column
from xdistill.data.files.mat import read_mat_array
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.published_split import TEST, TRAIN, check_split, published_or_clean
from xdistill.data.splits import Splits
from xdistill.registry import register_dataset

FILE, SPLITS_FILE = "nyu_depth_v2_labeled.mat", "splits.mat"
SCENES = (
    "bedroom",
    "kitchen",
    "living_room",
    "bathroom",
    "dining_room",
    "office",
    "home_office",
    "classroom",
    "bookstore",
    "other",
)
"""The nine most frequent kinds of room, and all others."""
CARD = DatasetCard(
    name="nyu_depth_v2",
    pairs=(("depth_image", "image"), ("image", "depth_image")),
    classes=len(SCENES),
    size="1,449 frames of 464 rooms, 795 for training and 654 for testing; 2.8 GB",
    licence="none stated; for research",
    citation="Silberman, Hoiem, Kohli, Fergus, Indoor Segmentation and Support Inference from RGBD "
    "Images, ECCV 2012",
    source_url="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
    files=(FILE, SPLITS_FILE),
)
COLUMNS = {"image": "images", "depth_image": "depths"}
"""For each column the name of its array in the file."""


@register_dataset(CARD)
def nyu_depth_v2(
    root: str | Path,
    *,
    modalities: Sequence[str] = tuple(COLUMNS),
    split: Literal["published", "clean"] = "clean",
    size: tuple[int, int] = (112, 144),
    seed: int = 0,
    allow_outside: bool = False,
) -> Splits:
    """NYU Depth V2 as three paired datasets; a frame is read from the file when it is asked for.

    - ``image`` float32 [3, height, width] from 0 to 1.
    - ``depth_image`` float32 [1, height, width] in m, with holes filled in by the authors.

    Classes are `SCENES`, the ten of the usual scene classification. A row's group is its room.

    Args:
        root: holds ``nyu_depth_v2_labeled.mat`` (MATLAB 7.3, that is HDF5) and ``splits.mat``.
        modalities: of "image" and "depth_image".
        split: "clean" holds out 15 % of the training rooms for validation. "published" trains on
            all, and its validation part *is* the test part, of which a warning is given.
        size: height and width to which a frame of 480 × 640 is resized, by averaging areas.
        seed: decides which rooms are held out.
        allow_outside: follow links of the file to other files.

    Raises:
        FileNotFoundError: a file is missing; the message says where to get it.
        ValueError: an option is out of range, or a file is damaged.
    """
    names = check_modalities(modalities, COLUMNS)
    check_split(split)
    if min(size) < 1:
        raise ValueError(f"size is a height and a width of 1 or more pixels, got {size}")
    root = Path(root).expanduser()
    for name in (FILE, SPLITS_FILE):
        if not (root / name).is_file():
            raise FileNotFoundError(
                f"{root / name} is missing; the layout is <root>/{FILE} and <root>/{SPLITS_FILE}, "
                f"distributed at {CARD.source_url}"
            )
    kinds, rooms = _read_scenes(root / FILE, allow_outside)
    parts = _read_parts(root / SPLITS_FILE, len(kinds))
    numbers = {room: at for at, room in enumerate(sorted(set(rooms)))}
    dataset = PairedDataset(
        {
            name: HDF5Column(
                root / FILE,
                COLUMNS[name],
                len(kinds),
                partial(_frame, size=size),
                allow_outside=allow_outside,
            )
            for name in names
        },
        [SCENES.index(_scene(kind)) for kind in kinds],
        classes=SCENES,
        group=[numbers[room] for room in rooms],
        ids=[f"frame{row + 1:04d}" for row in range(len(kinds))],
    )
    return published_or_clean(dataset, parts, CARD.name, split, seed)


def _frame(stored: np.ndarray, size: tuple[int, int]) -> Float[Tensor, "c h w"]:
    frame = stored if stored.ndim == 3 else stored[None]  # [c, w, h]
    pixels = torch.from_numpy(np.ascontiguousarray(frame.swapaxes(1, 2)))
    scaled = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
    return F.interpolate(scaled[None], size, mode="area")[0]


def _scene(kind: str) -> str:
    return kind if kind in SCENES else "other"


def _read_scenes(path: Path, allow_outside: bool) -> tuple[list[str], list[str]]:
    """The kind of room and the room of each frame."""
    array = partial(open_dataset, allow_outside=allow_outside)
    try:
        with open_hdf5(path) as file:
            found = []
            for name in ("sceneTypes", "scenes"):
                cells = np.asarray(array(file, name)).reshape(-1)  # references to strings
                found.append(["".join(map(chr, np.asarray(file[c]).reshape(-1))) for c in cells])
            count = len(array(file, "images"))
    except ImportError:
        raise
    except OutsideError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a MATLAB 7.3 file with images, scenes and sceneTypes "
            f"({type(error).__name__}: {error}); it may be truncated: copy it again"
        ) from error
    kinds, rooms = found
    if len(kinds) != count or len(rooms) != count:
        raise ValueError(
            f"{path} has {count} images, {len(kinds)} sceneTypes and {len(rooms)} scenes, expected "
            "as many of each; copy it again"
        )
    return kinds, rooms


def _read_parts(path: Path, count: int) -> list[int]:
    train, test = (read_mat_array(path, f"{name}Ndxs").reshape(-1) for name in ("train", "test"))
    if sorted([*train.tolist(), *test.tolist()]) != list(range(1, count + 1)):
        raise ValueError(f"{path} does not name each of the {count} frames once; copy both again")
    tested = set(test.tolist())
    return [TEST if row in tested else TRAIN for row in range(1, count + 1)]
