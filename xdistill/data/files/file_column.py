"""Rows that each have a file of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor


class FileColumn(Sequence):
    """N rows, each read from its file by ``read(path)`` when it is asked for.

    Args:
        paths: a file for each row; None where a row has none, which `PairedDataset.valid` marks.
        read: makes a row's tensor from its file. It is pickled for the workers of a loader.
        keep_bytes: rows stay in memory if all of them fit into this.
    """

    def __init__(
        self,
        paths: Sequence[Path | None],
        read: Callable[[Any], Tensor],
        *,
        keep_bytes: float = 0.0,
    ):
        self.paths = list(paths)
        self.read = read
        self.keep_bytes = keep_bytes
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        array = self._kept.get(row)
        if array is None:
            array = self.read(self.paths[row])
            if array.nbytes * len(self) <= self.keep_bytes:
                self._kept[row] = array
        return array
