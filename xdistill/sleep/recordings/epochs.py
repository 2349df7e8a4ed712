"""A night's signal in epochs of 30 s, and what is wrong with each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from xdistill.data.files.extra import reader
from xdistill.data.sleep_stages import EPOCH_S
from xdistill.sleep.grid import Grid
from xdistill.sleep.marks import Mark
from xdistill.sleep.recordings.choose import KINDS
from xdistill.sleep.recordings.recording import Recording, Signal
from xdistill.sleep.recordings.units import FLAT_UV, deviation_by_second

WHOLE = Grid()
"""All epochs of a recording from its first sample on."""
LARGE_UV = 400.0
"""Brains' largest waves are smaller, from zero to peak; a second with more is an artefact."""
FAST_HZ = (20.0, 35.0)
FAST_UV = 20.0
"""Standard deviation in that band beyond which it is muscle; beta waves have less than 10 µV."""
ARTEFACT_S = 3
"""So many seconds of an epoch make it one with artefacts."""
FLAT_S = 5
"""Seconds on end."""


class SignalEpochs(NamedTuple):
    """A signal of a night in epochs.

    Attributes:
        values: float32 [E, c, t]; 0 where nothing was recorded.
        marks: of each epoch.
    """

    values: Float32[np.ndarray, "E c t"]
    marks: tuple[frozenset[Mark], ...]


def signal_epochs(recording: Recording, kind: str, grid: Grid = WHOLE) -> SignalEpochs:
    """Cuts a signal into epochs: every one of the grid, in order, also where nothing was recorded.

    Gaps are marked for every kind of signal. Flat, clipped and artefact are said of EEG alone.

    Args:
        recording: of `read_recording`.
        kind: "eeg", "eog", "emg" or "resp".
        grid: where the epochs lie on the recording's clock.

    Raises:
        ValueError: the recording has no signal of that kind.
    """
    if kind not in recording.signals:
        raise ValueError(
            f"{recording.path} was read without {kind}, only with "
            f"{', '.join(recording.signals) or 'nothing'}; expected one of {', '.join(KINDS)}"
        )
    signal = recording.signals[kind]
    count = grid.count
    if count is None:
        count = max(0, int((recording.duration_s - grid.start_s) / grid.epoch_s + 1e-6))
    values = _cut(signal.values, signal.rate_hz, grid, count)
    recorded = _cut(_recorded(recording, signal)[None], signal.rate_hz, grid, count)[:, 0]
    marks: list[set[Mark]] = [set() for _ in range(count)]
    share = recorded.mean(axis=1)
    _add(marks, share == 0, Mark.NO_EEG)
    _add(marks, (share > 0) & (share < 1), Mark.EEG_GAP)
    if kind == "eeg" and count:
        rate_hz = int(signal.rate_hz)
        whole = np.all(recorded.reshape(count, EPOCH_S, rate_hz), axis=2)
        _add(marks, _flat(values, rate_hz, whole), Mark.EEG_FLAT)
        _add(marks, _artefact(values, rate_hz), Mark.EEG_ARTEFACT)
        _add(marks, _clipped(signal, grid, count), Mark.EEG_CLIPPED)
    return SignalEpochs(values, tuple(frozenset(one) for one in marks))


def _add(marks: list[set[Mark]], which: Bool[np.ndarray, " E"], mark: Mark) -> None:
    for epoch in np.flatnonzero(which):
        marks[epoch].add(mark)


def _cut(
    values: Shaped[np.ndarray, "c t"], rate_hz: float, grid: Grid, count: int
) -> Shaped[np.ndarray, "E c n"]:
    """Epochs of a signal; 0 (or False) before its first and after its last sample.

    Each sample is the nearest in time: with a drift some are taken twice, or left out.
    """
    samples, total = round(EPOCH_S * rate_hz), values.shape[1]
    result = np.zeros((count, len(values), samples), values.dtype)
    steps = np.arange(samples) * (1 + grid.drift)
    for epoch in range(count):
        at = np.rint(round(grid.start_of(epoch) * rate_hz, 3) + steps).astype(int)
        inside = (at >= 0) & (at < total)
        result[epoch][:, inside] = values[:, at[inside]]
    return result


def _recorded(recording: Recording, signal: Signal) -> Bool[np.ndarray, " t"]:
    result = np.ones(signal.values.shape[1], bool)
    for start_s, end_s in recording.gaps:
        result[round(start_s * signal.rate_hz) : round(end_s * signal.rate_hz)] = False
    return result


def _flat(
    values: Float32[np.ndarray, "E c t"], rate_hz: int, whole: Bool[np.ndarray, "E s"]
) -> Bool[np.ndarray, " E"]:
    """Whether some channel is flat for `FLAT_S` seconds on end of what was recorded."""
    flat = (deviation_by_second(values, rate_hz) < FLAT_UV) & whole[:, None]  # [E, c, s]
    windows = np.lib.stride_tricks.sliding_window_view(flat, FLAT_S, axis=2)
    return np.any(np.all(windows, axis=3), axis=(1, 2))


def _artefact(values: Float32[np.ndarray, "E c t"], rate_hz: int) -> Bool[np.ndarray, " E"]:
    """Whether some channel is too large, or too fast, for `ARTEFACT_S` seconds."""
    signal = reader("scipy.signal", "signals", "sleep")
    sections = signal.butter(4, FAST_HZ, "bandpass", fs=rate_hz, output="sos")
    fast = deviation_by_second(signal.sosfiltfilt(sections, values, axis=2), rate_hz) > FAST_UV
    seconds = (*values.shape[:2], EPOCH_S, rate_hz)
    large = abs(values).reshape(seconds).max(axis=3) > LARGE_UV
    return np.any((fast | large).sum(axis=2) >= ARTEFACT_S, axis=1)


def _clipped(signal: Signal, grid: Grid, count: int) -> Bool[np.ndarray, " E"]:
    starts = np.array([grid.start_of(epoch) for epoch in range(count)])
    result = np.zeros(count, bool)
    for start_s, end_s in signal.clipped:
        result |= (starts < end_s) & (starts + grid.epoch_s > start_s)
    return result
