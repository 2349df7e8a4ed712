"""AV-MNIST: images of digits, faded, with spectrograms of spoken digits in noise.

Vielzeuf et al., "CentralNet: a multilayer approach for multimodal fusion", ECCV workshops 2018,
paired MNIST with Free Spoken Digits; later papers read these arrays of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from xdistill.data.cards import DatasetCard
from xdistill.data.files.arrays import MappedColumn, open_array
from xdistill.data.files.audio_frames import check_split, warn_no_validation
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.registry import register_dataset

DIGITS = tuple(map(str, range(10)))
CARD = DatasetCard(
    name="av_mnist",
    pairs=(("audio", "image"), ("image", "audio")),
    classes=10,
    size="60,000 rows for training, 10,000 for testing; 4 GB",
    licence="MNIST: usually given as CC BY-SA 3.0; FSDD: CC BY-SA 4.0; the arrays state none",
    citation="Vielzeuf, Lechervy, Pateux, Jurie, CentralNet, ECCV workshops 2018",
    source_url="https://github.com/slyviacassell/_MFAS/tree/master/datasets",
    files=("image/*_data.npy", "audio/*_data.npy", "*_labels.npy"),
)
LAYOUT = "<root>/{image,audio}/{train,test}_data.npy and <root>/{train,test}_labels.npy"


@register_dataset("av_mnist", CARD)
def av_mnist(
    root: str | Path,
    *,
    modalities: Sequence[str] = ("audio", "image"),
    split: Literal["published", "clean"] = "clean",
    seed: int = 0,
) -> Splits:
    """AV-MNIST as three paired datasets, memory-mapped.

    - ``image`` float32 [1, 28, 28] from 0 to 1: 8-bit values are divided by 255, others kept.
    - ``audio`` float32 [1, 112, 112]: the spectrogram, likewise.

    Nobody says which speaker or writer a row has, so each row is a group of its own.

    Args:
        root: the folder ``avmnist``.
        modalities: of "audio" and "image"; the other one's arrays are not opened.
        split: "clean" holds a tenth of the training rows of each digit out for validation.
            "published" keeps all for training, and the validation part *is* the test part; a
            warning says so.
        seed: of the rows that are held out.

    Raises:
        FileNotFoundError: an array is missing; says where they come from.
        ValueError: an option out of range, or arrays of other shapes.
    """
    names = tuple(modalities)
    if not names or isinstance(modalities, str) or set(names) - {"audio", "image"}:
        raise ValueError(f"av_mnist takes a list of 'audio' and 'image', got {modalities!r}")
    check_split(split)
    root = Path(root).expanduser()
    train, test = (_part(root, part, names) for part in ("train", "test"))
    offset = len(train)
    test = test.replace(group=torch.arange(offset, offset + len(test)))
    if split == "published":
        warn_no_validation("AV-MNIST")
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
    labels = np.asarray(open_array(root / f"{part}_labels.npy", source)).reshape(-1)
    columns: dict[str, Any] = {}
    for name, shape in (("audio", (1, 112, 112)), ("image", (1, 28, 28))):
        if name in names:
            path = root / name / f"{part}_data.npy"
            columns[name] = MappedColumn(path, shape, source)
            if len(columns[name]) != len(labels):
                raise ValueError(
                    f"{path} has {len(columns[name])} rows and the labels {len(labels)}; both "
                    "belong to one another: copy them again"
                )
    if not np.issubdtype(labels.dtype, np.integer) or not np.isin(labels, np.arange(10)).all():
        raise ValueError(f"{root / f'{part}_labels.npy'} holds labels that are no digits 0 to 9")
    return PairedDataset(
        columns,
        torch.from_numpy(labels.astype(np.int64)),
        classes=DIGITS,
        ids=[f"{part}/{row}" for row in range(len(labels))],
    )
