"""VGGSound-50k: features of 50,000 of VGGSound's films, in 141 classes.

Zhou, Guo, Wang (CPSP, IEEE TPAMI 2022, "VGGSound-AVEL50k") chose the films; Li et al. (MST-Distill,
2025) read these features of them: VGG-19 of ten frames, VGGish of ten seconds.
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

from xdistill.data.cards import DatasetCard
from xdistill.data.files.arrays import read_array
from xdistill.data.files.delimited import read_lines
from xdistill.data.files.file_column import FileColumn
from xdistill.data.files.names import check_names, inside
from xdistill.data.files.row_orders import SOURCE, read_order
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.published_split import check_split, split_in_order
from xdistill.data.splits import Splits, split_by_group
from xdistill.numerics import GIB
from xdistill.registry import register_dataset

CLASSES = tuple(map(str, range(141)))
LIST, ORDER = "VGGS50k_metadata.txt", "VGGSound-50k_indices.csv"
FEATURES = "VGGS50K_features_normed"
SHAPES = {"video": (10, 7, 7, 512), "audio": (10, 128)}
FILES = {"video": "visual_features/{}_vFeature.npy", "audio": "audio_features/{}_aFeature.npy"}
CARD = DatasetCard(
    name="vggsound_50k",
    pairs=(("audio", "video"), ("video", "audio")),
    classes=len(CLASSES),
    size="about 50,000 films of ten seconds; 50 GB as features",
    licence="the lists of VGGSound: CC BY 4.0; films from YouTube; the features state none",
    citation="Zhou, Guo, Wang, Contrastive Positive Sample Propagation, IEEE TPAMI 2022; Chen et "
    "al., VGGSound, ICASSP 2020",
    source_url="https://github.com/jasongief/CPSP",
    files=(LIST, f"{FEATURES}/*/*.npy"),
)
LAYOUT = (
    f"<root>/{LIST} (name&class), <root>/{FEATURES}/visual_features/<name>_vFeature.npy and "
    "audio_features/<name>_aFeature.npy"
)


@register_dataset(CARD)
def vggsound_50k(
    root: str | Path,
    *,
    modalities: Sequence[str] = ("audio", "video"),
    split: Literal["published", "clean"] = "clean",
    fold: int = 0,
    keep_gib: float = 1.0,
) -> Splits:
    """VGGSound-50k's features as three paired datasets, read when a row is asked for.

    - ``video`` float32 [512, 10, 7, 7]: for each second a map of 512 channels.
    - ``audio`` float32 [128, 10]: for each second 128 features.

    Classes have the numbers of the list as names. A row's group is the film on YouTube, which is
    the row's name without its last part.

    Args:
        root: holds the list and the features.
        modalities: of "audio" and "video".
        split: "clean" draws 60, 20 and 20 % of the films. "published" takes an order of the rows
            from ``VGGSound-50k_indices.csv``, which splits films.
        fold: number of the random split of "clean", or of the column of "published".
        keep_gib: rows of a modality stay in memory if all of them fit into this many GiB.

    Raises:
        FileNotFoundError: a file is missing; the message says where to get it.
        ValueError: an option is out of range, or a line of the list is malformed. A damaged
            file raises it when its row is read.
    """
    names = check_modalities(modalities, SHAPES)
    check_split(split)
    root = Path(root).expanduser()
    rows, labels = [], []
    for line in read_lines(root / LIST, LAYOUT, SOURCE, delimiter="&"):
        if len(line) < 2 or line[1].strip() not in CLASSES:
            raise ValueError(
                f"{root / LIST} has the line {'&'.join(line)!r}, expected name&class with a class "
                f"from 0 to {len(CLASSES) - 1}"
            )
        rows.append(line[0].strip())
        labels.append(int(line[1]))
    check_names(rows, root / LIST)
    for row in rows:
        inside(root, row)
    paths = {name: [root / FEATURES / FILES[name].format(row) for row in rows] for name in names}
    lost = [path for files in paths.values() for path in files if not path.is_file()]
    if lost:
        raise FileNotFoundError(
            f"{len(lost)} files of features are missing (first: {lost[0]}); the layout is {LAYOUT},"
            f" distributed at {SOURCE}"
        )
    films = [row.rpartition("_")[0] or row for row in rows]
    number = {film: at for at, film in enumerate(sorted(set(films)))}
    dataset = PairedDataset(
        {
            name: FileColumn(files, partial(_read, shape=SHAPES[name]), keep_bytes=keep_gib * GIB)
            for name, files in paths.items()
        },
        labels,
        classes=CLASSES,
        group=[number[film] for film in films],
        ids=rows,
    )
    if split == "published":
        return split_in_order(dataset, read_order(root / ORDER, fold, len(dataset)))
    return split_by_group(dataset, (0.6, 0.2, 0.2), seed=fold)


def _read(path: Path, shape: tuple[int, ...]) -> Float[Tensor, "c t ..."]:
    """Features with the axis of channels first and that of seconds second."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(read_array(path, shape), -1, 0)))
