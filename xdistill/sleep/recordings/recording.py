"""A night's recording: EEG, EOG, EMG and a breathing belt as a sleep stager needs them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64

from xdistill.sleep.recordings.choose import KINDS, Derivation, choose
from xdistill.sleep.recordings.clipping import clipped_samples, stretches
from xdistill.sleep.recordings.conditioning import BANDS, Band, band_at, conditioned
from xdistill.sleep.recordings.edf_source import edf_source
from xdistill.sleep.recordings.mne_source import brainvision_source, fif_source
from xdistill.sleep.recordings.source import Source, labels_of
from xdistill.sleep.recordings.units import (
    FLAT_UV,
    UNITS,
    deviation_by_second,
    scale_of,
)

SUFFIXES = {
    ".edf": edf_source,
    ".bdf": edf_source,
    ".fif": fif_source,
    ".vhdr": brainvision_source,
}
"""How each kind of file is opened."""
FLAT_SHARE = 0.5
"""A signal that is flat for longer than this share of the night is warned of."""


class Signal(NamedTuple):
    """One kind of signal of a night.

    Attributes:
        kind: "eeg", "eog", "emg" or "resp".
        channels: names, as in the file; "C4-M1" for a difference of "C4" and "M1".
        rate_hz: samples a second: 100, and 25 for "resp".
        values: float32 [c, t] from the recording's first sample on, in µV, band-passed; breathing
            keeps the unit of its file. 0 in gaps.
        clipped: start and end in seconds of where a channel was at its amplifier's limit.
    """

    kind: str
    channels: tuple[str, ...]
    rate_hz: float
    values: Float32[np.ndarray, "c t"]
    clipped: tuple[tuple[float, float], ...] = ()


class Recording(NamedTuple):
    """What was recorded of a night.

    Attributes:
        path: the file.
        start: date and time of the first sample, without a time zone; None where it is not known.
        duration_s: from the first sample to the end of the last.
        signals: those that there are, by their kind.
        gaps: start and end in seconds of what was not recorded, since the first sample.
        warnings: what is to be known about it; each was warned of, too.
    """

    path: Path
    start: datetime | None
    duration_s: float
    signals: Mapping[str, Signal]
    gaps: tuple[tuple[float, float], ...] = ()
    warnings: tuple[str, ...] = ()


def read_recording(
    path: str | Path,
    channels: Mapping[str, Sequence[str]] | None = None,
    *,
    reference: str | Sequence[str] | None = None,
    unit: str | None = None,
) -> Recording:
    """Reads EDF, EDF+, BDF, FIF or BrainVision, one channel after the other.

    EEG and EOG keep 0.3 to 35 Hz and EMG 10 to 45 Hz, at 100 samples a second and in µV; breathing
    0.05 to 5 Hz at 25 a second. Filters shift nothing and stop at gaps.

    Args:
        path: the file.
        channels: names for each kind of signal: ``{"eeg": ["C4-M1", "F4-M1"], "emg": []}``. Names
            match exactly, else in any case, else by what they mean ("EEG C4-A1" is "C4-M1"), else
            the difference of two electrodes that were recorded apart is taken. An empty list
            leaves a kind out. For kinds that are not mentioned the first of the usual channels
            is read, if there is one.
        reference: electrodes, as "M1" or ("M1", "M2"), whose mean is subtracted from EEG and EOG
            electrodes that were recorded alone.
        unit: "uV", "mV" or "V" for all voltages, instead of what the file says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file of another kind, a damaged one, a channel that it does not have, a unit
            that is no voltage, or a rate that is too low.
        ImportError: mne or SciPy is missing.
    """
    path = Path(path).expanduser()
    if unit is not None and unit not in UNITS:
        raise ValueError(f"unit is one of {', '.join(UNITS)}, or None as the file says, got {unit}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recording = _read(path, channels, reference, unit)
    said = tuple(dict.fromkeys(str(one.message) for one in caught))
    for text in said:
        warnings.warn(text, stacklevel=2)
    return recording._replace(warnings=said)


def _read(
    path: Path,
    channels: Mapping[str, Sequence[str]] | None,
    reference: str | Sequence[str] | None,
    unit: str | None,
) -> Recording:
    source = _opened(path)
    chosen = choose(source, channels, reference)
    signals = {}
    for kind in KINDS:
        usable = [
            one for one in chosen.get(kind, ()) if _rate_suffices(source, kind, one, channels)
        ]
        if usable:
            signals[kind] = _signal(source, kind, usable, unit)
    if not signals:
        raise ValueError(
            f"{path} has none of the usual channels of {', '.join(KINDS)}; it has "
            f"{labels_of(source.channels)}; name them: channels={{'eeg': [...]}}"
        )
    if "eeg" not in chosen and "eeg" not in (channels or {}):
        warnings.warn(
            f"{path} has no channel of a usual name for eeg, and is read without; it has "
            f"{labels_of(source.channels)}. If one of them is EEG, name it: "
            "channels={'eeg': [...]}",
            stacklevel=2,
        )
    return Recording(path, source.start, source.duration_s, signals, source.gaps)


def _opened(path: Path) -> Source:
    name = path.name.lower().removesuffix(".gz")
    opener = SUFFIXES.get(Path(name).suffix)
    if opener is None:
        raise ValueError(
            f"{path} is no recording that can be read; expected a file with one of the suffixes "
            f"{', '.join(SUFFIXES)}: export the recording as EDF+"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, expected a recording; correct its name")
    return opener(path)


def _rate_suffices(
    source: Source,
    kind: str,
    one: Derivation,
    channels: Mapping[str, Sequence[str]] | None,
) -> bool:
    """False, with a warning, for a channel that nobody named and that is too slow to be of use."""
    rate_hz, least_hz = source.channels[one.plus].rate_hz, BANDS[kind].least_hz
    if rate_hz >= least_hz or kind in (channels or {}):
        return True
    warnings.warn(
        f"{source.path} has {one.name!r} at {rate_hz:g} samples a second, too few for {kind} "
        f"({least_hz:g} at least): it is left out",
        stacklevel=2,
    )
    return False


def _signal(
    source: Source, kind: str, derivations: Sequence[Derivation], unit: str | None
) -> Signal:
    rows, clipped = [], np.zeros(int(np.ceil(source.duration_s)), bool)
    for one in derivations:
        row, limited = _channel(source, kind, one, unit)
        rows.append(row)
        clipped[: len(limited)] |= limited
    first, end = stretches(clipped)
    return Signal(
        kind,
        tuple(one.name for one in derivations),
        float(BANDS[kind].rate_hz),
        np.stack(rows),
        tuple(
            (float(a), min(float(b), source.duration_s)) for a, b in zip(first, end, strict=True)
        ),
    )


def _channel(
    source: Source, kind: str, one: Derivation, unit: str | None
) -> tuple[Float32[np.ndarray, " t"], Bool[np.ndarray, " s"]]:
    """A derivation in µV, and in which seconds one of its electrodes was at its limit."""
    channel, what = source.channels[one.plus], f"{source.path}: {one.name!r}"
    band = band_at(BANDS[kind], channel.rate_hz, what)
    samples = int(source.duration_s * band.rate_hz + 1e-6)
    row, clipped = _electrode(source, one.plus, band, samples)
    for at in one.minus:
        _check_same(source, one, at)
        other, limited = _electrode(source, at, band, samples)
        row -= other / len(one.minus)
        clipped |= limited
    if kind == "resp":
        return row, clipped
    row *= scale_of(
        kind, row, band.rate_hz, unit or channel.unit, None if unit else channel.full_scale, what
    )
    _warn_of_flat(source, row, band.rate_hz, what)
    return row, clipped


def _electrode(
    source: Source, at: int, band: Band, samples: int
) -> tuple[Float32[np.ndarray, " t"], Bool[np.ndarray, " s"]]:
    channel = source.channels[at]
    stored = source.read(at)
    if not np.isfinite(stored).all():
        raise ValueError(
            f"{source.path}: {channel.label!r} has {int((~np.isfinite(stored)).sum())} samples "
            "that are no numbers; export the recording again, with gaps instead"
        )
    row = conditioned(stored, channel.rate_hz, source.runs, band, samples)
    return row, _clipped_seconds(source, stored, channel.rate_hz)


def _clipped_seconds(
    source: Source, stored: Float64[np.ndarray, " n"], rate_hz: float
) -> Bool[np.ndarray, " s"]:
    clipped = clipped_samples(stored, rate_hz)
    seconds = np.zeros(int(np.ceil(source.duration_s)), bool)
    for run in source.runs:
        at = run.start_s + np.flatnonzero(clipped[run.samples(rate_hz)]) / rate_hz
        seconds[np.minimum(at.astype(int), len(seconds) - 1)] = True
    return seconds


def _check_same(source: Source, one: Derivation, at: int) -> None:
    plus, minus = source.channels[one.plus], source.channels[at]
    if (plus.rate_hz, plus.unit) != (minus.rate_hz, minus.unit):
        raise ValueError(
            f"{source.path}: {one.name!r} cannot be made, since {plus.label!r} has "
            f"{plus.rate_hz:g} Hz in {plus.unit or 'no unit'} and {minus.label!r} "
            f"{minus.rate_hz:g} Hz in {minus.unit or 'no unit'}; name another channel"
        )


def _warn_of_flat(source: Source, row: Float32[np.ndarray, " t"], rate_hz: int, what: str) -> None:
    recorded_s = source.duration_s - sum(end - start for start, end in source.gaps)
    gaps_s = source.duration_s - recorded_s
    flat_s = float((deviation_by_second(row, rate_hz) < FLAT_UV).sum()) - gaps_s
    if flat_s > FLAT_SHARE * recorded_s:
        warnings.warn(
            f"{what} is flat for {flat_s / 60:.0f} of {recorded_s / 60:.0f} minutes: its electrode "
            "is off. Look at it, or choose another channel",
            stacklevel=2,
        )
