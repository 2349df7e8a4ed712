"""The folder of a staged night: every file whole, or not there."""

from __future__ import annotations

import csv
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.sleep.hypnograms.hypnogram import Hypnogram
from xdistill.sleep.hypnograms.write import write_hypnogram
from xdistill.sleep.marks import marks_text
from xdistill.sleep.report.held_out import limits_of_agreement
from xdistill.sleep.report.night import StagedNight
from xdistill.sleep.report.page import Reference, report_page
from xdistill.sleep.report.pictures import body_picture, hypnogram_picture
from xdistill.sleep.report.statistics import MEASURES, sleep_statistics
from xdistill.sleep.report.student import StudentFacts
from xdistill.storage.atomic import ENDING, cannot_write, partial_name
from xdistill.storage.json_file import write_json
from xdistill.storage.lock import LOCK, alone_in

REPORT = "report.html"
HYPNOGRAMS = ("csv", "txt", "annot", "edf")
"""Endings of the hypnogram's files: YASA reads .txt and .csv, Luna .annot and .edf."""


@contextmanager
def night_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder of one's own for a night; what killed runs left in it is removed.

    Raises:
        FileExistsError: it is a file, in use, or holds files and these are not to be overwritten.
    """
    with alone_in(out):
        for left in out.glob(f".*{ENDING}"):
            shutil.rmtree(left, ignore_errors=True)
        there = sorted(name for name in os.listdir(out) if name != LOCK)
        if there and not overwrite:
            raise FileExistsError(
                f"{out} is not empty (it holds {', '.join(there[:3])}{', …' * (len(there) > 3)}); "
                "choose another folder, or pass --overwrite"
            )
        yield out


def write_staged_night(
    out: Path,
    night: StagedNight,
    student: StudentFacts,
    facts: Mapping[str, Any],
    reference: Reference | None = None,
) -> Path:
    """Write all files of a night into its folder; returns the report.

    They are written beside their places and then renamed, the report last.

    Raises:
        OSError: a file cannot be written; names the folder.
        ImportError: a library of the extra `sleep` is missing.
    """
    hypnogram = Hypnogram(
        night.stages, night.marks, 0.0, night.probabilities, f"xdistill {student.name}"
    )
    writers: dict[str, Callable[[Path], object]] = {
        "epochs.csv": lambda path: _write_epochs(path, night),
        **{
            f"hypnogram.{ending}": lambda path: write_hypnogram(path, hypnogram, start=night.start)
            for ending in HYPNOGRAMS
        },
        "hypnogram.png": lambda path: path.write_bytes(
            hypnogram_picture(night, None if reference is None else reference.stages)
        ),
        "body.png": lambda path: path.write_bytes(body_picture(night)),
        "statistics.csv": lambda path: _write_statistics(path, night, student),
        "stage.json": lambda path: write_json(path, _facts(night, student, facts)),
        REPORT: lambda path: path.write_text(
            report_page(night, student, reference), encoding="utf-8"
        ),
    }
    partial = partial_name(out / "night")
    try:
        partial.mkdir(parents=True)
        for name, write in writers.items():
            write(partial / name)
        for name in writers:
            os.replace(partial / name, out / name)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out / REPORT


def _write_epochs(path: Path, night: StagedNight) -> None:
    stages, confidence = night.stages, night.confidence
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        chances = [f"p_{name}" for name in STAGES]
        head = ["epoch", "start_s", "time", "stage", "confidence", *chances]
        table.writerow([*head, *night.feature_names, "marks"])
        for epoch, marks in enumerate(night.marks):
            at = epoch * EPOCH_S
            time = "" if night.start is None else night.start + timedelta(seconds=at)
            name = STAGES[stages[epoch]] if stages[epoch] >= 0 else ""
            numbers = [confidence[epoch], *night.probabilities[epoch], *night.features[epoch]]
            cells = [_cell(float(one)) for one in numbers]
            table.writerow([epoch, at, time, name, *cells, marks_text(marks)])


def _write_statistics(path: Path, night: StagedNight, student: StudentFacts) -> None:
    statistics = sleep_statistics(night.stages)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        head = ["measure", "value", "unit", "held_out_bias", "held_out_limit_low"]
        table.writerow([*head, "held_out_limit_high", "held_out_sleepers"])
        for one in MEASURES:
            limits = limits_of_agreement(student.held_out, one.name)
            known = [_cell(value) for value in (limits.bias, limits.low, limits.high)]
            value = _cell(getattr(statistics, one.name))
            table.writerow([one.name, value, one.unit, *known, limits.sleepers])


def _cell(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _facts(night: StagedNight, student: StudentFacts, facts: Mapping[str, Any]) -> dict[str, Any]:
    from xdistill import __version__

    return {
        **facts,
        "source": night.source,
        "start": None if night.start is None else night.start.isoformat(),
        "epochs": len(night.marks),
        "without_stage": int(np.count_nonzero(night.stages < 0)),
        "student": student.name,
        "trained": dict(student.trained),
        "statistics": sleep_statistics(night.stages)._asdict(),
        "xdistill_version": __version__,
    }
