"""One modality of all nights, read from their files row by row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class NightColumn(Sequence):
    """The rows of one array of each night after each other, as float32.

    Each process maps the files when it first reads a row of them, so that many nights need no more
    memory than the system's own cache.

    Args:
        files: array [E, ...] of each night, of one shape of rows; None for a night without.
        lengths: epochs E of each night.
        clips: whether rows are clips uint8 [T, S, S], which become [1, T, S, S] from 0 to 1.
    """

    def __init__(self, files: Sequence[Path | None], lengths: Sequence[int], *, clips: bool):
        self.files = list(files)
        self.ends = list(accumulate(lengths))
        self.clips = clips
        self._mapped: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_mapped": {}}  # a worker maps the files itself

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, row: int) -> Float[Tensor, ...]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        night = bisect_right(self.ends, row)
        values = self._array(night)[row - (self.ends[night - 1] if night else 0)]
        sample = torch.from_numpy(np.array(values, dtype=np.float32))
        return sample[None] / 255 if self.clips else sample

    def _array(self, night: int) -> np.ndarray:
        if night not in self._mapped:
            file = self.files[night]
            if file is None:
                raise ValueError("the night has no such array, and its rows are not to be read")
            self._mapped[night] = np.load(file, mmap_mode="r", allow_pickle=False)
        return self._mapped[night]
