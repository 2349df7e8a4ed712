"""Stages by YASA, a trained stager of EEG: the scorer of a night that nobody has scored.

Vallat and Walker, An open-source, high-performance tool for automated sleep staging, eLife 10
(2021) e70092.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float32

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.extras import import_extra
from xdistill.sleep.grid import Grid
from xdistill.sleep.hypnograms.hypnogram import NOT_SCORED, Hypnogram
from xdistill.sleep.hypnograms.scores import score_of
from xdistill.sleep.marks import Mark
from xdistill.sleep.recordings import Recording, signal_epochs

LEAST_S = 300.0
"""YASA compares each epoch with the 7.5 minutes around it; in less than 5 minutes it guesses."""
YASA_MARKS = {Mark.NO_EEG, Mark.EEG_FLAT}
"""What leaves an epoch without a stage: there is no EEG to be staged."""
HARMLESS = (DeprecationWarning, FutureWarning, RuntimeWarning)
"""Of libraries that YASA uses, and of flat epochs, whose numbers are not taken."""
LABELS = "unpickle estimator LabelEncoder"
"""YASA's file holds a list of names that an older scikit-learn wrote; it is read all the same."""


def stage_with_yasa(
    recording: Recording,
    *,
    eeg: str | None = None,
    eog: str | None = None,
    emg: str | None = None,
    age: int | None = None,
    male: bool | None = None,
) -> Hypnogram:
    """Stages and their probabilities for all whole epochs of a recording.

    Epochs in gaps, and those in which the EEG is flat, are unscored.

    Args:
        recording: with an EEG signal of 5 minutes or more; YASA was trained on central derivations
            against the mastoid (C4-M1).
        eeg: name of its channel; the first when None.
        eog: the same; "" leaves it out.
        emg: the same; "" leaves it out.
        age: of the sleeper, in years; together with ``male``.
        male: of the sleeper.

    Raises:
        ValueError: no EEG, no such channel, less than 5 minutes, or no epoch with EEG.
        ImportError: YASA is missing.
    """
    names = {"eeg": eeg, "eog": eog, "emg": emg}
    rows = {kind: row for kind, name in names.items() if (row := _row(recording, kind, name))}
    if "eeg" not in rows:
        raise ValueError(f"{recording.path}: YASA needs an EEG, got eeg={eeg!r}")
    if recording.duration_s < LEAST_S:
        raise ValueError(
            f"{recording.path} has {recording.duration_s:g} s, and YASA needs {LEAST_S:g} s or "
            "more, since it compares each epoch with the minutes around it; record longer, or "
            "score it by hand"
        )
    if (age is None) != (male is None) or (age is not None and not 0 < age < 120):
        raise ValueError(
            f"age and male go together, and age is from 1 to 119, got age={age}, male={male}"
        )
    marks = signal_epochs(recording, "eeg", Grid()).marks
    usable = np.array([not (each & YASA_MARKS) for each in marks], bool)
    if not usable.any():
        raise ValueError(
            f"{recording.path}: the EEG {rows['eeg'][0]!r} is flat or missing in all {len(marks)} "
            "epochs; choose another channel"
        )
    metadata = None if age is None else {"age": age, "male": male}
    with _said_by_yasa(recording):
        stages, probabilities = _predicted(recording, rows, metadata)
    stages[~usable], probabilities[~usable] = NOT_SCORED, np.nan
    unscored = frozenset({Mark.UNSCORED})
    return Hypnogram(
        stages,
        tuple(frozenset() if good else unscored for good in usable),
        0.0,
        probabilities,
        f"YASA {version('yasa')}",
    )


def _row(
    recording: Recording, kind: str, name: str | None
) -> tuple[str, Float32[np.ndarray, " t"]] | None:
    """A channel's name and samples; None for a kind that is left out or was not recorded."""
    signal = recording.signals.get(kind)
    if name == "" or (name is None and signal is None):
        return None
    if signal is None or (name is not None and name not in signal.channels):
        raise ValueError(
            f"{recording.path} was read without the {kind} channel {name!r}; it has "
            f"{', '.join(signal.channels) if signal else 'none'}: read it with "
            f"channels={{{kind!r}: [{name!r}]}}"
        )
    at = 0 if name is None else signal.channels.index(name)
    return signal.channels[at], signal.values[at]


def _predicted(
    recording: Recording,
    rows: dict[str, tuple[str, Float32[np.ndarray, " t"]]],
    metadata: dict[str, Any] | None,
) -> tuple[np.ndarray, Float32[np.ndarray, "E k"]]:
    mne = import_extra("mne", "sleep", "staging by YASA")
    yasa = import_extra("yasa", "sleep", "staging by YASA")
    rate_hz = recording.signals["eeg"].rate_hz
    whole = int(recording.duration_s / EPOCH_S + 1e-6)
    samples = round(whole * EPOCH_S * rate_hz)
    values = np.stack([row[:samples] for _, row in rows.values()]).astype(np.float64) * 1e-6
    info = mne.create_info(list(rows), rate_hz, list(rows), verbose="error")
    raw = mne.io.RawArray(values, info, verbose="error")
    if recording.start is not None:
        raw.set_meas_date(recording.start.replace(tzinfo=UTC))
    staging = yasa.SleepStaging(
        raw,
        "eeg",
        eog_name="eog" if "eog" in rows else None,
        emg_name="emg" if "emg" in rows else None,
        metadata=metadata,
    )
    found = staging.predict()
    stages = np.array([score_of(str(name)) for name in found.hypno], np.int8)
    columns = {score_of(str(name)): name for name in found.proba.columns}
    ordered = [found.proba[columns[stage]].to_numpy() for stage in range(len(STAGES))]
    return stages, np.stack(ordered, axis=1).astype(np.float32)


@contextmanager
def _said_by_yasa(recording: Recording) -> Iterator[None]:
    """Warns once of each thing that YASA warns of, except of what gaps and libraries cause."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    said = [str(one.message) for one in caught if not issubclass(one.category, HARMLESS)]
    for text in dict.fromkeys(said):
        if LABELS not in text:
            warnings.warn(f"{recording.path}: YASA warns: {text}", stacklevel=4)
