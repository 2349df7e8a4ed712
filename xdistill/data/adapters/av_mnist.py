"""AV-MNIST: images of digits with reduced energy, and spectrograms of noisy spoken digits.

Vielzeuf et al., "CentralNet: a multilayer approach for multimodal fusion", ECCV workshops 2018,
paired MNIST with Free Spoken Digits; later papers read the arrays that this adapter reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from xdistill.data.cards import DatasetCard
from xdistill.data.files.arrays import read_labels
from xdistill.data.files.mapped_column import MappedColumn
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.published_split import check_split, warn_no_validation
from xdistill.data.splits import Splits
from xdistill.registry import register_dataset

DIGITS = tuple(map(str, range(10)))
SHAPES = {"spectrogram": (1, 112, 112), "image": (1, 28, 28)}
FOLDERS = {"spectrogram": "audio", "image": "image"}
CARD = DatasetCard(
    name="av_mnist",
    pairs=(("spectrogram", "image"), ("image", "spectrogram")),
    classes=10,
    size="60,000 rows for training, 10,000 for testing; 4 GB",
    licence="MNIST: usually given as CC BY-SA 3.0; FSDD: CC BY-SA 4.0; the arrays state none",
    citation="Vielzeuf, Lechervy, Pateux, Jurie, CentralNet, ECCV workshops 2018",
    source_url="https://github.com/slyviacassell/_MFAS/tree/master/datasets",
    files=("image/*_data.npy", "audio/*_data.npy", "*_labels.npy"),
)
LAYOUT = "<root>/{image,audio}/{train,test}_data.npy and <root>/{train,test}_labels.npy"


@register_dataset(CARD)
def av_mnist(
    root: str | Path,
    *,
    modalities: Sequence[str] = ("spectrogram", "image"),
    split: Literal["published", "clean"] = "clean",
    seed: int = 0,
) -> Splits:
    """AV-MNIST as three paired datasets, memory-mapped.

    - ``image`` float32 [1, 28, 28] from 0 to 1: 8-bit values are divided by 255, others kept.
    - ``spectrogram`` float32 [1, 112, 112]: of the sound, scaled in the same way.

    Speakers and writers are not published, so each row is a group of its own.

    Args:
        root: the folder ``avmnist``.
        modalities: of "spectrogram" and "image"; arrays of one that is not named are not opened.
        split: "clean" holds out a tenth of the training rows of each digit for validation.
            "published" keeps all for training, and the validation part *is* the test part, of which
            a warning is given.
        seed: decides which rows are held out.

    Raises:
        FileNotFoundError: an array is missing; the message says where to get them.
        ValueError: an option is out of range, or an array has another shape.
    """
    names = check_modalities(modalities, SHAPES)
    check_split(split)
    root = Path(root).expanduser()
    train, test = (_part(root, part, names) for part in ("train", "test"))
    offset = len(train)
    test = test.replace(group=torch.arange(offset, offset + len(test)))
    if split == "published":
        warn_no_validation(CARD.name)
        return Splits(train, test, test)
    held = torch.zeros(len(train), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for digit in range(10):
        rows = (train.target == digit).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        held[rows[: max(1, len(rows) // 10)]] = True
    return Splits(train.subset(~held), train.subset(held), test)


def _part(root: Path, part: str, names: tuple[str, ...]) -> PairedDataset:
    source = f"the layout is {LAYOUT}, distributed at {CARD.source_url}"
    labels = read_labels(root / f"{part}_labels.npy", source)
    columns: dict[str, Any] = {}
    for name in names:
        path = root / FOLDERS[name] / f"{part}_data.npy"
        columns[name] = MappedColumn(path, SHAPES[name], source)
        if len(columns[name]) != len(labels):
            raise ValueError(
                f"{path} has {len(columns[name])} rows, but there are {len(labels)} labels, "
                "expected as many of both; copy both again"
            )
    if not np.isin(labels, np.arange(10)).all():
        raise ValueError(
            f"{root / f'{part}_labels.npy'} holds {np.unique(labels)[:12].tolist()}, expected the "
            "digits 0 to 9; copy it again"
        )
    return PairedDataset(
        columns,
        torch.from_numpy(labels),
        classes=DIGITS,
        ids=[f"{part}/{row}" for row in range(len(labels))],
    )
