"""Small recordings in true formats, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import edfio
import mne
import numpy as np

START = datetime(2026, 1, 31, 23, 5, 7)


class Wave(NamedTuple):
    """A channel to write: samples in ``unit``, from ``-limit`` to ``limit``."""

    label: str
    rate_hz: float
    samples: np.ndarray
    unit: str = "uV"
    limit: float = 1000.0


def eeg_like(seconds: float, rate_hz: float, seed: int = 0, size_uv: float = 25.0) -> np.ndarray:
    """Noise with the spectrum of 1/f from 0.5 to 30 Hz and a standard deviation in µV."""
    count = round(seconds * rate_hz)
    hz = np.fft.rfftfreq(count, 1 / rate_hz)
    gain = np.where((hz >= 0.5) & (hz <= 30), 1 / np.maximum(hz, 0.5), 0)
    phases = np.exp(2j * np.pi * np.random.default_rng(seed).random(len(hz)))
    values = np.fft.irfft(gain * phases, count)
    return size_uv * values / values.std()


def sines(seconds: float, rate_hz: float, hz: Sequence[float] = (2.0, 10.0)) -> np.ndarray:
    """A sum of sines of 30 µV each, whose value at any time is known."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return sum((30 * np.sin(2 * np.pi * each * time + each) for each in hz), np.zeros(len(time)))


def write_edf_c(
    path: Path, waves: Sequence[Wave], start: datetime = START, record_s: float | None = None
) -> Path:
    """EDF+C (or BDF+C, by the suffix) by edfio."""
    bdf = path.suffix.lower() == ".bdf"
    kind = edfio.BdfSignal if bdf else edfio.EdfSignal
    signals = [
        kind(
            one.samples,
            one.rate_hz,
            label=one.label,
            physical_dimension=one.unit,
            physical_range=(-one.limit, one.limit),
        )
        for one in waves
    ]
    file = (edfio.Bdf if bdf else edfio.Edf)(
        signals,
        recording=edfio.Recording(startdate=start.date()),
        starttime=start.time(),
        data_record_duration=record_s,
        annotations=[edfio.EdfAnnotation(1.0, None, "Lights off")],
    )
    file.write(path)
    return path


def raw_of(values: np.ndarray, names: Sequence[str], kinds: Sequence[str], rate_hz: float):
    """mne's recording of values [c, t] in V."""
    info = mne.create_info(list(names), rate_hz, list(kinds), verbose="error")
    return mne.io.RawArray(values, info, verbose="error")


def write_brainvision(
    path: Path, waves: Sequence[Wave], segments: Sequence[tuple[int, str]], unit: str = "µV"
) -> Path:
    """Header, markers and 32-bit floats as BrainVision's recorder writes them.

    Args:
        path: of the header, .vhdr.
        waves: of one rate.
        segments: position (from 1) and time of each part.
        unit: of all channels.
    """
    rate_hz = waves[0].rate_hz
    channels = "\n".join(f"Ch{n}={one.label},,1,{unit}" for n, one in enumerate(waves, 1))
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.stem}.eeg\nMarkerFile={path.stem}.vmrk\nDataFormat=BINARY\n"
        f"DataOrientation=MULTIPLEXED\nNumberOfChannels={len(waves)}\n"
        f"SamplingInterval={1e6 / rate_hz:g}\n[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n"
        f"[Channel Infos]\n{channels}\n",
        encoding="utf-8",
    )
    marks = "\n".join(f"Mk{n}=New Segment,,{at},1,0,{t}" for n, (at, t) in enumerate(segments, 1))
    path.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.stem}.eeg\n[Marker Infos]\n{marks}\n",
        encoding="utf-8",
    )
    samples = np.stack([one.samples for one in waves], axis=1).astype("<f4")
    path.with_suffix(".eeg").write_bytes(samples.tobytes())
    return path
