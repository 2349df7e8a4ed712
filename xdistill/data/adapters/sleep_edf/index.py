"""The nights in a folder of Sleep-EDF, and which of their epochs are scored."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xdistill.data.files.edf import (
    EdfHeader,
    check_scale,
    find_signal,
    meant_unit,
    read_edf_header,
)
from xdistill.data.files.edf_annotations import read_edf_annotations
from xdistill.data.files.edf_times import first_sample, record_starts
from xdistill.data.sleep_stages import EPOCH_S, ScoredEpoch, W, scored_epochs

SOURCE = "https://physionet.org/content/sleep-edfx/1.0.0/"
FOLDERS = (
    ".",
    "sleep-cassette",
    "sleep-edfx/1.0.0/sleep-cassette",
    "physionet.org/files/sleep-edfx/1.0.0/sleep-cassette",
    "sleep-edf-database-expanded-1.0.0/sleep-cassette",
)
LAYOUT = (
    "the layout is <root>/SC4ssNE0-PSG.edf and SC4ssNEx-Hypnogram.edf (ss subject, N night, x "
    f"scorer), or the same in sleep-cassette/; the files are distributed at {SOURCE}"
)


class Channels(NamedTuple):
    """The signals of one modality: labels and rate in the file, and whether they are voltages."""

    labels: tuple[str, ...]
    rate_hz: int
    microvolts: bool = True


MODALITIES = {
    "eeg": Channels(("EEG Fpz-Cz", "EEG Pz-Oz"), 100),
    "eog": Channels(("EOG horizontal",), 100),
    "emg": Channels(("EMG submental",), 1),
    "resp": Channels(("Resp oro-nasal",), 1, microvolts=False),
}


MICROVOLTS = {"nV": 1e-3, "uV": 1.0, "mV": 1e3, "V": 1e6}
"""How many µV each unit is."""


class Night(NamedTuple):
    """One recording: its name (SC4001E0), subject, signals' file and scored epochs."""

    id: str
    subject: int
    psg: Path
    epochs: tuple[ScoredEpoch, ...]


def find_nights(
    root: Path,
    *,
    modalities: Sequence[str],
    subjects: Sequence[int] | None = None,
    wake_minutes: float | None = 30.0,
) -> list[Night]:
    """The nights below ``root`` in the order of their names; a hypnogram alone is skipped.

    Args:
        root: the folder of the files, or one above it.
        modalities: of `MODALITIES`; the header of each recording must have their signals.
        subjects: numbers from 0 to 82; all in the folder when None.
        wake_minutes: as in `trim_wake`.

    Raises:
        FileNotFoundError: a recording or its hypnogram is missing.
        ValueError: a damaged file, a signal that is missing or has another rate, or a hypnogram
            that starts at another time than its recording or scores no sleep in it.
    """
    recordings = _recordings(root)
    absent = set(subjects or ()) - {subject for subject, _ in recordings}
    if absent:
        raise FileNotFoundError(
            f"{root} has no recording of subject {', '.join(map(str, sorted(absent)))}; it has "
            f"those of {', '.join(map(str, sorted({subject for subject, _ in recordings})))}; "
            f"{LAYOUT}"
        )
    wanted = [found for found in recordings if subjects is None or found[0] in subjects]
    pairs = [(subject, psg, _hypnogram(psg)) for subject, psg in wanted]
    missing = [psg for _, psg, hypnogram in pairs if hypnogram is None]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(pairs)} recordings have no hypnogram (first: {missing[0]} "
            f"needs {missing[0].name[:7]}x-Hypnogram.edf, x being any letter); {LAYOUT}"
        )
    return [
        _night(subject, psg, hypnogram, modalities, wake_minutes)
        for subject, psg, hypnogram in pairs
        if hypnogram is not None
    ]


def trim_wake(epochs: Sequence[ScoredEpoch], wake_minutes: float | None) -> list[ScoredEpoch]:
    """Keeps this many minutes of scored epochs before the first and after the last one of sleep.

    None keeps all epochs. Without any sleep nothing is kept.
    """
    if wake_minutes is None:
        return list(epochs)
    asleep = [at for at, epoch in enumerate(epochs) if epoch.stage != W]
    if not asleep:
        return []
    margin = int(wake_minutes * 60 // EPOCH_S)
    return list(epochs[max(0, asleep[0] - margin) : asleep[-1] + 1 + margin])


def _recordings(root: Path) -> list[tuple[int, Path]]:
    for folder in (root / name for name in FOLDERS):
        found = [
            (int(match[1]), path)
            for path in sorted(folder.glob("SC4*-PSG.edf"))
            if (match := re.fullmatch(r"SC4(\d\d)\d[A-Z]\d-PSG\.edf", path.name))
        ]
        if found:
            return found
    raise FileNotFoundError(f"{root / 'SC4001E0-PSG.edf'} and all others are missing; {LAYOUT}")


def _hypnogram(psg: Path) -> Path | None:
    """The hypnogram of a recording; its name has the scorer's letter in place of a digit.

    Raises:
        ValueError: several scorers.
    """
    found = sorted(psg.parent.glob(f"{psg.name[:7]}?-Hypnogram.edf"))
    if len(found) > 1:
        raise ValueError(
            f"{psg} has the hypnograms {', '.join(one.name for one in found)}, expected one; move "
            "the others elsewhere"
        )
    return found[0] if found else None


def _night(
    subject: int,
    psg: Path,
    hypnogram: Path,
    modalities: Sequence[str],
    wake_minutes: float | None,
) -> Night:
    header = read_edf_header(psg)
    _check_signals(psg, header, modalities)
    scored_from = read_edf_header(hypnogram).start
    if scored_from != header.start:
        raise ValueError(
            f"{hypnogram} starts at {scored_from} (dd.mm.yyhh.mm.ss), but {psg.name} at "
            f"{header.start}; a hypnogram starts with its recording, so one is of another night"
        )
    blocks = read_edf_annotations(hypnogram).blocks
    try:
        scored = scored_epochs(blocks)
    except ValueError as error:
        raise ValueError(f"{hypnogram}: {error}") from error
    inside = _recorded(psg, header, scored)
    epochs = tuple(trim_wake(inside, wake_minutes))
    if not epochs:
        raise ValueError(
            f"{hypnogram} scores no sleep in the {header.seconds:g} s of {psg.name}; leave the "
            "subject out"
        )
    return Night(psg.name.split("-")[0], subject, psg, epochs)


def _recorded(psg: Path, header: EdfHeader, scored: Sequence[ScoredEpoch]) -> list[ScoredEpoch]:
    """The epochs that were recorded; a warning counts those in gaps between records."""
    starts, record_s = record_starts(psg, header), header.record_s
    inside = [
        one
        for one in scored
        if first_sample(starts, record_s, 1.0, one.start_s, EPOCH_S) is not None
    ]
    end_s = starts[-1] + record_s
    before_end = [one for one in scored if 0 <= one.start_s <= end_s - EPOCH_S]
    if len(inside) < len(before_end):
        warnings.warn(
            f"{psg} has gaps: {len(before_end) - len(inside)} of {len(before_end)} scored epochs "
            "were not recorded, or not whole, and are left out",
            stacklevel=5,
        )
    return inside


def _check_signals(psg: Path, header: EdfHeader, modalities: Sequence[str]) -> None:
    for modality in modalities:
        wanted = MODALITIES[modality]
        for label in wanted.labels:
            signal = find_signal(psg, header, label)
            if signal is None:
                raise ValueError(
                    f"{psg} has no signal {label!r}, only "
                    f"{', '.join(one.label for one in header.signals)}; leave {modality!r} out of "
                    "modalities, or the recording elsewhere"
                )
            if signal.rate_hz != wanted.rate_hz:
                raise ValueError(
                    f"{psg} has {label!r} at {signal.rate_hz:g} Hz, expected {wanted.rate_hz} Hz "
                    "as in all of sleep-cassette, and nothing is resampled here; leave "
                    f"{modality!r} out of modalities, or the recording elsewhere"
                )
            check_scale(psg, signal)
            if wanted.microvolts and meant_unit(signal) not in MICROVOLTS:
                raise ValueError(
                    f"{psg} has {label!r} in {signal.unit or 'no unit'}, expected one of "
                    f"{', '.join(MICROVOLTS)}; leave {modality!r} out of modalities, or the "
                    "recording elsewhere"
                )
