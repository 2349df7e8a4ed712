"""The signals of Sleep-EDF's nights: read once by mne, then kept as memory-mapped epochs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.data.adapters.sleep_edf.index import MICROVOLTS, MODALITIES, Night
from xdistill.data.files.edf import find_signal, meant_unit, read_edf_header
from xdistill.data.files.edf_times import first_sample, record_starts
from xdistill.data.files.extra import reader
from xdistill.data.files.mne_warnings import said_by_mne
from xdistill.data.sleep_stages import EPOCH_S
from xdistill.data.store import digest, stored_tensors

FORMAT = "2"  # must change whenever `read_epochs` returns other values
STORED = {"uV": 1e6, "mV": 1e3}
"""Factors to stored values of what mne has made volts; it leaves other units alone."""


def read_epochs(night: Night, modality: str) -> Float[Tensor, "n c t"]:
    """The signals of one modality in the night's epochs, at the rate at which they are stored.

    mne resamples all signals of one call to the highest of their rates. Each modality, whose
    signals have one rate, is therefore read by itself, and nothing is resampled.

    Returns:
        float32 in µV; respiration keeps its stored values.

    Raises:
        ValueError: a file that mne cannot read.
    """
    mne = reader("mne", night.psg)
    wanted = MODALITIES[modality]
    header = read_edf_header(night.psg)
    found = [find_signal(night.psg, header, label) for label in wanted.labels]
    stored = [one for one in found if one is not None]
    records = record_starts(night.psg, header)
    starts = np.array(
        [
            first_sample(records, header.record_s, wanted.rate_hz, epoch.start_s, EPOCH_S)
            for epoch in night.epochs
        ]
    )
    length = EPOCH_S * wanted.rate_hz
    first, end = int(starts.min()), int(starts.max()) + length
    try:
        with said_by_mne(night.psg):
            raw = mne.io.read_raw_edf(
                night.psg, include=[one.label for one in stored], preload=False, verbose="warning"
            )
            signals: Any = raw.get_data(start=first, stop=end)  # [c, end - first]
        order = [raw.ch_names.index(one.label) for one in stored]
    except Exception as error:  # mne raises many kinds for a damaged file
        raise ValueError(
            f"{night.psg} cannot be read ({type(error).__name__}: {error}); it may be damaged: "
            "copy it again"
        ) from error
    factors = [
        STORED.get(one.unit, 1.0) * (MICROVOLTS[meant_unit(one)] if wanted.microvolts else 1.0)
        for one in stored
    ]
    epochs = np.empty((len(starts), len(order), length), np.float32)
    for channel, (row, factor) in enumerate(zip(order, factors, strict=True)):
        windows = np.lib.stride_tricks.sliding_window_view(signals[row], length)
        epochs[:, channel] = windows[starts - first] * factor
    return torch.from_numpy(epochs)


class NightColumn(Sequence):
    """One modality of all nights' epochs, row after row: float32 [C, T].

    Each night is a file of the cache. It is written when the column is made and mapped into memory
    when one of its rows is first read, so a loader's workers share its pages.

    Args:
        nights: in the order of the rows.
        modality: of `MODALITIES`.
        cache: folder of the files.
    """

    def __init__(self, nights: Sequence[Night], modality: str, cache: Path):
        self.nights = list(nights)
        self.modality = modality
        self.files = [cache / f"{modality}-{_key(night, modality)}.safetensors" for night in nights]
        self.ends = list(accumulate(len(night.epochs) for night in nights))
        self._open: dict[int, Tensor] = {}
        for at, file in enumerate(self.files):
            if not file.exists():
                self._load(at)

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, row: int) -> Float[Tensor, "c t"]:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        at = bisect_right(self.ends, row)
        if at not in self._open:
            self._open[at] = self._load(at)
        night = self._open[at]
        return night[
            row - self.ends[at] + len(night)
        ].clone()  # a view would be pickled with the whole file

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # a worker maps the files itself

    def _load(self, at: int) -> Tensor:
        make = partial(_made, self.nights[at], self.modality)
        return stored_tensors(self.files[at], make)[self.modality]


def _made(night: Night, modality: str) -> dict[str, Tensor]:
    return {modality: read_epochs(night, modality)}


def _key(night: Night, modality: str) -> str:
    """A digest that differs if the recording's file has changed, or other epochs are asked for."""
    psg = night.psg.resolve()
    status = psg.stat()
    starts = np.array([epoch.start_s for epoch in night.epochs]).tobytes()
    return digest(FORMAT, modality, str(psg), f"{status.st_size} {status.st_mtime_ns}", starts)
