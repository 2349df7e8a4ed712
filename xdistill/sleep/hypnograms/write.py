"""A hypnogram as a file that other programs read."""

from __future__ import annotations

import csv
import io
import unicodedata
from datetime import datetime
from pathlib import Path

import numpy as np

from xdistill.data.files.extra import reader
from xdistill.data.sleep_stages import ANNOTATION, EPOCH_S, STAGES
from xdistill.sleep.hypnograms.hypnogram import SAME_S, Hypnogram
from xdistill.sleep.marks import Mark, marks_text
from xdistill.storage.atomic import replacing

EDF_NAMES = ("W", "N1", "N2", "N3", "R")
"""What EDF+ and Luna have for `STAGES`."""
YASA_NAMES = ("WAKE", "N1", "N2", "N3", "REM")


def write_hypnogram(
    path: str | Path, hypnogram: Hypnogram, *, start: datetime | None = None
) -> None:
    """Writes a hypnogram as its suffix says.

    - ``.edf``: EDF+ annotations of 30 s, "Sleep stage W" and so on.
    - ``.csv``: epoch, onset, duration, stage, marks, scorer, and probabilities where there are any.
    - ``.txt``: one stage in each line, as YASA has them; epochs before the first are "UNS",
      and movement time is "ART", since YASA has no name for it.
    - ``.annot``: Luna's annotations.

    Args:
        path: the file; one that is there is replaced.
        hypnogram: to be written.
        start: date and time of the recording's first sample; EDF+ holds it.

    Raises:
        ValueError: another suffix, or a text that cannot hold when the hypnogram starts.
        ImportError: edfio is missing, for EDF+.
    """
    path = Path(path).expanduser()
    writers = {".edf": _edf, ".csv": _csv, ".txt": _yasa, ".annot": _luna}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise ValueError(
            f"{path} has no suffix of a hypnogram; expected one of {', '.join(writers)}"
        )
    content = writer(path, hypnogram, start)
    with replacing(path) as partial:
        partial.write_bytes(content)


def _edf(path: Path, hypnogram: Hypnogram, start: datetime | None) -> bytes:
    edfio = reader("edfio", path, "sleep")
    rows = [
        edfio.EdfAnnotation(at, EPOCH_S, _edf_text(stage, marks))
        for at, stage, marks in zip(
            _starts(hypnogram), hypnogram.stages, hypnogram.marks, strict=True
        )
    ]
    recording = edfio.Recording(
        startdate=None if start is None else start.date(),
        investigator_technician_code=_ascii(hypnogram.scorer) or "X",
    )
    time = None if start is None else start.time()
    return edfio.Edf([], recording=recording, starttime=time, annotations=rows).to_bytes()


def _ascii(name: str) -> str:
    """A name as headers of EDF+ have it: letters without accents, and no blanks."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return "_".join(plain.split())[:20]


def _edf_text(stage: int, marks: frozenset[Mark]) -> str:
    if stage >= 0:
        return ANNOTATION + EDF_NAMES[stage]
    if Mark.SCORED_MOVEMENT in marks:
        return "Movement time"
    return ANNOTATION + ("artefact" if Mark.SCORED_ARTEFACT in marks else "?")


def _csv(path: Path, hypnogram: Hypnogram, start: datetime | None) -> bytes:
    file = io.StringIO(newline="")
    table = csv.writer(file, lineterminator="\n")
    probabilities = hypnogram.probabilities
    names = ["epoch", "onset", "duration", "stage", "marks", "scorer"]
    table.writerow(names + ([] if probabilities is None else list(STAGES)))
    for epoch, at in enumerate(_starts(hypnogram)):
        stage, marks = int(hypnogram.stages[epoch]), hypnogram.marks[epoch]
        moved = stage < 0 and Mark.SCORED_MOVEMENT in marks
        shown = "MT" if moved else STAGES[stage] if stage >= 0 else _yasa_text(stage, marks)
        row = [epoch, f"{at:.10g}", EPOCH_S, shown, marks_text(marks), hypnogram.scorer]
        if probabilities is not None:
            row += ["" if np.isnan(one) else f"{one:.6g}" for one in probabilities[epoch]]
        table.writerow(row)
    return file.getvalue().encode()


def _yasa(path: Path, hypnogram: Hypnogram, start: datetime | None) -> bytes:
    before = round(hypnogram.start_s / EPOCH_S)
    if before < 0 or abs(hypnogram.start_s - before * EPOCH_S) > SAME_S:
        raise ValueError(
            f"{path} cannot hold a hypnogram that starts {hypnogram.start_s:g} s after its "
            "recording, since a text without times starts with it; write .csv, .annot or .edf, or "
            "bring it onto the recording's epochs with on_grid"
        )
    names = ["UNS"] * before
    names += [
        _yasa_text(stage, marks)
        for stage, marks in zip(hypnogram.stages, hypnogram.marks, strict=True)
    ]
    return ("\n".join(names) + "\n").encode()


def _yasa_text(stage: int, marks: frozenset[Mark]) -> str:
    if stage >= 0:
        return YASA_NAMES[stage]
    return "ART" if marks & {Mark.SCORED_MOVEMENT, Mark.SCORED_ARTEFACT} else "UNS"


def _luna(path: Path, hypnogram: Hypnogram, start: datetime | None) -> bytes:
    lines = ["\t".join(("class", "instance", "channel", "start", "stop", "meta"))]
    for at, stage, marks in zip(_starts(hypnogram), hypnogram.stages, hypnogram.marks, strict=True):
        name = EDF_NAMES[stage] if stage >= 0 else "?"
        why = {Mark.SCORED_MOVEMENT: "movement", Mark.SCORED_ARTEFACT: "artefact"}
        instance = next((text for mark, text in why.items() if mark in marks and stage < 0), ".")
        lines.append("\t".join((name, instance, ".", f"{at:.10g}", f"{at + EPOCH_S:.10g}", ".")))
    return ("\n".join(lines) + "\n").encode()


def _starts(hypnogram: Hypnogram) -> list[float]:
    return [hypnogram.start_s + EPOCH_S * epoch for epoch in range(len(hypnogram.stages))]
