"""Splits of rows in a random order: drawn here, or listed by the authors of MST-Distill.

Li et al., "MST-Distill" (ACM Multimedia 2025) publish ``<name>_indices.csv``: in each of 20 columns
``group_0``, ``group_1``, … an order of all rows, of which the first 60 % are for training, the next
20 % for validation and the rest for testing. Rows of one person, film or post are not kept apart.
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits

SHARES = (0.6, 0.8)
SOURCE = "https://github.com/Gray-OREO/MST-Distill"


def random_rows(dataset: PairedDataset, seed: int) -> Splits:
    """60, 20 and 20 % of the rows in a random order; each row is a group of its own."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    return _cut(dataset, order)


def listed_rows(dataset: PairedDataset, path: Path, column: int) -> Splits:
    """The same shares of the order in a column of the published file.

    Raises:
        FileNotFoundError: no such file; says where it comes from.
        ValueError: no such column, or one that does not name each row once.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; it holds the published order of the rows, distributed at {SOURCE}"
        )
    try:
        with path.open(newline="") as file:
            order = [int(line[f"group_{column}"]) for line in csv.DictReader(file)]
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} has no column group_{column} of row numbers ({type(error).__name__}: {error})"
        ) from error
    if sorted(order) != list(range(len(dataset))):
        raise ValueError(
            f"{path} does not name each of the {len(dataset)} rows once in group_{column}; the "
            "order belongs to other data: copy both again"
        )
    return _cut(dataset, torch.tensor(order))


def _cut(dataset: PairedDataset, order: torch.Tensor) -> Splits:
    bounds = [int(share * len(order)) for share in SHARES]
    alone = dataset.replace(group=None)
    return Splits(*(alone.subset(rows) for rows in order.tensor_split(bounds)))
