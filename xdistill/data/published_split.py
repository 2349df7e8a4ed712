"""The split that the authors of a data set publish, and a clean one of the same rows.

Many published splits have no validation part, or share a film or an actor between parts. An adapter
therefore offers both: ``split="published"`` and ``split="clean"``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from xdistill.data.paired import PairedDataset
from xdistill.data.splits import VAL_SHARE, Splits

TRAIN, VAL, TEST = range(3)
SHARES = (0.6, 0.8)
"""Where `split_in_order` cuts the order."""


def check_split(split: str) -> None:
    """Refuse an unknown name of a split.

    Raises:
        ValueError: it is neither "published" nor "clean".
    """
    if split not in ("published", "clean"):
        raise ValueError(f"split is 'published' or 'clean', got {split!r}")


def published_or_clean(
    dataset: PairedDataset, part: Sequence[int], name: str, split: str, seed: int = 0
) -> Splits:
    """`published_split` or `clean_split`, as ``split`` says."""
    check_split(split)
    if split == "published":
        return published_split(dataset, part, name)
    return clean_split(dataset, part, name, seed)


def published_split(dataset: PairedDataset, part: Sequence[int], name: str) -> Splits:
    """Each row in its published part. Without a validation part, val is test, with a warning.

    Args:
        dataset: all rows.
        part: of each row, `TRAIN`, `VAL` or `TEST`.
        name: what messages call the data set.

    Raises:
        ValueError: a part without rows.
    """
    rows = [[row for row, own in enumerate(part) if own == k] for k in (TRAIN, VAL, TEST)]
    if not rows[VAL]:
        warn_no_validation(name)
        rows[VAL] = rows[TEST]
    return _parts(dataset, rows, name)


def clean_split(dataset: PairedDataset, part: Sequence[int], name: str, seed: int = 0) -> Splits:
    """The published test part, and training and validation parts that share no group with it.

    Training rows whose group is in the published test or validation part are left out. Where no
    validation part is published, 15 % of the training groups are drawn for it.

    Args:
        dataset: all rows.
        part: of each row, `TRAIN`, `VAL` or `TEST`.
        name: what messages call the data set.
        seed: decides which groups are drawn.

    Raises:
        ValueError: a part without rows.
    """
    group = dataset.group.tolist()
    of = [{group[row] for row, own in enumerate(part) if own == k} for k in (TRAIN, VAL, TEST)]
    val, train = of[VAL] - of[TEST], of[TRAIN] - of[TEST] - of[VAL]
    if not of[VAL]:
        free = torch.tensor(sorted(train), dtype=torch.int64)
        order = torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))
        val = set(free[order[: max(1, round(VAL_SHARE * len(free)))]].tolist())
        train -= val
    allowed = (train, val, of[TEST])
    source = (TRAIN, VAL if of[VAL] else TRAIN, TEST)
    rows = [
        [row for row, own in enumerate(part) if group[row] in allowed[k] and own == source[k]]
        for k in (TRAIN, VAL, TEST)
    ]
    return _parts(dataset, rows, name)


def split_in_order(dataset: PairedDataset, order: Int64[Tensor, " n"]) -> Splits:
    """The first 60 % of the rows in this order for training, 20 % each for validation and testing.

    Rows of one group are not kept together; each row of the result is a group of its own.
    """
    bounds = [int(share * len(order)) for share in SHARES]
    ungrouped = dataset.replace(group=None)
    return Splits(*(ungrouped.subset(rows) for rows in order.tensor_split(bounds)))


def warn_no_validation(name: str) -> None:
    """Warn that a published split selects the model on its test part."""
    warnings.warn(
        f"the published split of {name} has no validation part: val is the test part, so a model "
        "selected on it looks better than it is; split='clean' holds out training rows instead",
        stacklevel=4,
    )


def _parts(dataset: PairedDataset, rows: list[list[int]], name: str) -> Splits:
    for part, chosen in zip(Splits._fields, rows, strict=True):
        if not chosen:
            raise ValueError(f"the split of {name} leaves no row for {part}; check its lists")
    return Splits(*(dataset.subset(chosen) for chosen in rows))
