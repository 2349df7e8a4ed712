"""The orders of rows that the authors of MST-Distill publish for their random splits.

Li et al., "MST-Distill" (ACM Multimedia 2025): a file ``<name>_indices.csv`` has 20 columns
``group_0``, ``group_1``, …, each an order of all rows for
`xdistill.data.published_split.split_in_order`.
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

SOURCE = "https://github.com/Gray-OREO/MST-Distill"


def read_order(path: Path, column: int, rows: int) -> Int64[Tensor, " n"]:
    """The order in one column of the file.

    Args:
        path: the file.
        column: its number, from 0.
        rows: number of rows of the data.

    Raises:
        FileNotFoundError: the file is missing; the message says where to get it.
        ValueError: there is no such column, or it does not name each row once.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; it holds the published order of the rows, distributed at {SOURCE}"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            order = [int(line[f"group_{column}"]) for line in csv.DictReader(file)]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise ValueError(
            f"{path} has no column group_{column} of row numbers ({type(error).__name__}: {error})"
        ) from error
    if sorted(order) != list(range(rows)):
        raise ValueError(
            f"{path} does not name each of the {rows} rows once in group_{column}; it belongs to "
            "other data: copy both again"
        )
    return torch.tensor(order)
