"""Recording and hypnogram of a simulated night as EDF+ files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from xdistill.data.sleep_stages import ANNOTATION, EPOCH_S, REM, STAGES
from xdistill.extras import import_extra
from xdistill.sleep.simulated.signals import Trace

PREFILTER = "HP:0.3Hz LP:100Hz"
ROUND_UV = 100.0
"""The physical range is a multiple of it."""


def write_recording(path: Path, traces: list[Trace], start: datetime) -> None:
    """Writes signals as EDF+C with records of one second; the patient is anonymous."""
    edfio = import_extra("edfio", "sleep", "a simulated recording")
    signals = []
    for label, rate_hz, values in traces:
        limit = ROUND_UV * (1 + np.ceil(np.abs(values).max() / ROUND_UV))
        signals.append(
            edfio.EdfSignal(
                values.astype(np.float64),
                rate_hz,
                label=label,
                physical_dimension="uV",
                physical_range=(-limit, limit),
                prefiltering="" if label.startswith("Resp") else PREFILTER,
            )
        )
    _edf(edfio, signals, start, [edfio.EdfAnnotation(0, None, "Recording starts")]).write(path)


def write_scoring(path: Path, stages: np.ndarray, start: datetime) -> None:
    """Writes stages [e] as annotations of an EDF+ file without signals."""
    edfio = import_extra("edfio", "sleep", "a simulated hypnogram")
    names = ["R" if stage == REM else STAGES[stage] for stage in stages]
    annotations = [
        edfio.EdfAnnotation(epoch * EPOCH_S, EPOCH_S, ANNOTATION + name)
        for epoch, name in enumerate(names)
    ]
    _edf(edfio, [], start, annotations).write(path)


def _edf(edfio, signals: list, start: datetime, annotations: list):
    return edfio.Edf(
        signals,
        recording=edfio.Recording(startdate=start.date()),
        starttime=start.time(),
        annotations=annotations,
        data_record_duration=1 if signals else None,
    )
