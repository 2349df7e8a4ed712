"""EDF, EDF+ and BDF as a source: the times of the records from the file, the samples from mne."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from xdistill.data.files.edf import (
    EdfHeader,
    EdfSignal,
    check_scale,
    meant_unit,
    read_edf_header,
    start_time,
)
from xdistill.data.files.edf_times import ANNOTATIONS, record_starts
from xdistill.data.files.extra import reader
from xdistill.data.files.mne_warnings import said_by_mne
from xdistill.sleep.recordings.source import Channel, Run, Source

VOLTS = {"uV": 1e-6, "mV": 1e-3}
"""Units that mne turns into volts, by this factor; it leaves the numbers of all others alone."""
JITTER_S = 0.005
"""Half a sample of 100 Hz: records that begin this much off their time follow without a gap."""


def edf_source(path: Path) -> Source:
    """The channels and records of an EDF, EDF+ or BDF file.

    Raises:
        ValueError: the file is damaged, or does not say when its records begin.
    """
    header = read_edf_header(path)
    starts = record_starts(path, header)
    shown = [at for at, one in enumerate(header.signals) if one.label not in ANNOTATIONS]
    if not shown or not header.record_s:
        raise ValueError(
            f"{path} holds no signal, only annotations; expected a recording. If it is a "
            "hypnogram, give it as one"
        )
    first_s = float(starts[0])
    start = start_time(header)
    if start is not None:
        start += timedelta(seconds=first_s)
    signals = [header.signals[at] for at in shown]

    def read(at: int) -> Float64[np.ndarray, " n"]:
        check_scale(path, signals[at])
        return _stored(path, header, signals, at)

    channels = tuple(_channel(one) for one in signals)
    return Source(path, start, channels, _runs(starts - first_s, header.record_s), read)


def _channel(one: EdfSignal) -> Channel:
    full_scale = max(abs(each) for each in one.physical)
    return Channel(one.label, one.rate_hz, meant_unit(one), None, full_scale)


def _runs(starts: Float64[np.ndarray, " r"], record_s: float) -> tuple[Run, ...]:
    """Records that follow each other are one part."""
    firsts = [0]
    for at in range(1, len(starts)):
        expected = starts[firsts[-1]] + (at - firsts[-1]) * record_s
        if abs(starts[at] - expected) > JITTER_S:
            firsts.append(at)
    ends = [*firsts[1:], len(starts)]
    return tuple(
        Run(float(starts[first]), first * record_s, (end - first) * record_s)
        for first, end in zip(firsts, ends, strict=True)
    )


def _stored(
    path: Path, header: EdfHeader, signals: list[EdfSignal], at: int
) -> Float64[np.ndarray, " n"]:
    """All samples of one signal, in the unit of its header.

    mne resamples all signals of one call to the highest of their rates, so that each is read by
    itself.

    Raises:
        ValueError: mne cannot read it, or signals of different rates have its label.
    """
    one = signals[at]
    same = [k for k, other in enumerate(signals) if other.label == one.label]
    if len({signals[k].rate_hz for k in same}) > 1:
        raise ValueError(
            f"{path} has {len(same)} signals named {one.label!r}, of different rates, expected "
            "one; rename the others in the recorder's software and export the file again"
        )
    raw = _open(path, header, one.label)
    try:
        values = np.asarray(raw.get_data(picks=[same.index(at)])[0])
    except Exception as error:  # mne raises many kinds for a damaged file
        raise _refusal(path, error) from error
    expected = header.records * round(one.rate_hz * header.record_s)
    if len(values) < expected:
        raise ValueError(
            f"{path} has {len(values)} samples of {one.label!r}, but its header announces "
            f"{expected}; copy it again"
        )
    return values[:expected] / VOLTS.get(one.unit, 1.0)


def _open(path: Path, header: EdfHeader, label: str) -> Any:
    mne = reader("mne", path, "sleep")
    read = mne.io.read_raw_bdf if header.sample_bytes == 3 else mne.io.read_raw_edf
    suffix = ".bdf" if header.sample_bytes == 3 else ".edf"
    if path.suffix.lower() != suffix:
        raise ValueError(f"{path} is a file of the kind {suffix}, by its header; rename it so")
    try:
        with said_by_mne(path):
            return read(path, include=[label], stim_channel=None, preload=False, verbose="warning")
    except Exception as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be read ({type(error).__name__}: {error}); it may be damaged: copy it again"
    )
