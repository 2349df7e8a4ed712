"""What a stager of nights gains by distillation and by context, on simulated sleepers.

Simulated nights are written as EDF, MP4 and hypnogram and prepared; four students are then trained
as `xdistill train` does: one that sees movement alone, one that sees breathing alone, one with both
and one that sees the clip. Each learns alone and from an EEG teacher, with the labels of all
training sleepers and with those of two (its teacher has seen no others either), and stages without
context, smoothed by a hidden Markov model, and with a network over the night. Each repetition holds
out other sleepers. Writes results/nights.json.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from night_students.films import write_nights
from night_students.signals import with_signals

from xdistill.cli import main as xdistill
from xdistill.report import environment, write_json
from xdistill.sleep.train.options import NightOptions
from xdistill.sleep.train.run import train_nights

RESULTS = Path(__file__).parent / "results" / "nights.json"
SEES = {"movement": "body", "breathing": "body", "both": "body", "video": "video"}
LABELS = ("all", "two")


@dataclass(frozen=True)
class Options:
    """What to measure."""

    sleepers: int = 12
    """How many are simulated."""
    hours: float = 2.0
    """Length of a night, whose epochs are taken evenly from eight hours."""
    fps: float = 5.0
    """Frames a second of the films."""
    size: int = 24
    """Side of a clip's frame in pixels."""
    repetitions: int = 3
    """How many times everything is trained, each with other sleepers held out."""
    max_epochs: int = 20
    """Epochs of every student."""
    teacher_epochs: int = 10
    """Epochs of the teacher."""
    method: str = "kd"
    """How students are taught."""
    students: tuple[str, ...] = tuple(SEES)
    """Which students: movement, breathing, both, video."""
    work: Path = Path("runs/nights")
    """Folder of nights and runs; what is finished there is not made again."""
    processes: int = 2
    """Nights that are written and prepared at a time."""
    out: Path = RESULTS
    """Where the JSON goes."""


def main(options: Options) -> None:
    """Make the nights, train the students and write the JSON."""
    prepared = prepared_nights(options)
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for student, labels, repetition in product(
        options.students, LABELS, range(options.repetitions)
    ):
        results = trained(options, prepared[student], student, labels, repetition)
        for method, contexts in results["nights"].items():
            for context, scores in contexts.items():
                runs[f"{student}|{labels}|{method}|{context}"] += scores["runs"]
        print(f"{student}, labels of {labels}, repetition {repetition}: done", flush=True)
    students = [summary(name, some) for name, some in runs.items()]
    figures = {"sleepers": options.sleepers, "hours": options.hours, "students": students}
    write_json(options.out, {**environment(), "repetitions": options.repetitions, **figures})
    print(f"written: {options.out}")


def prepared_nights(options: Options) -> dict[str, Path]:
    """The prepared folder of each student, made where it is not there."""
    table = write_nights(
        options.work / "files", options.sleepers, options.hours, options.fps, options.processes
    )
    whole = options.work / "prepared"
    command = ["prepare", "--table", str(table), "--out", str(whole), "--size", str(options.size)]
    if status := xdistill([*command, "--workers", str(options.processes)]):
        raise SystemExit(status)
    folders = {"both": whole, "video": whole}
    for student, keep in (("movement", _is_activity), ("breathing", _is_breathing)):
        folders[student] = options.work / f"prepared-{student}"
        if not folders[student].exists():
            partial = options.work / f"partial-{student}"
            with_signals(whole, partial, keep).rename(folders[student])
    return folders


def _is_activity(channel: str) -> bool:
    return channel.startswith("activity")


def _is_breathing(channel: str) -> bool:
    return channel == "breathing"


def sleepers(count: int, repetition: int) -> tuple[tuple[str, ...], ...]:
    """Sleepers for training, validation and test: half, a sixth and a third, others each time.

    The first two of training are those of whom labels are seen where there are two: neither the
    student nor its teacher learns from the labels of the others.
    """
    names = [f"s{number + 1:02d}" for number in range(count)]
    held_out = max(1, count // 3)
    first = repetition * held_out % count
    turned = names[first:] + names[:first]
    val = max(1, count // 6)
    return (
        tuple(turned[held_out + val :]),
        tuple(turned[held_out : held_out + val]),
        tuple(turned[:held_out]),
    )


def trained(
    options: Options, prepared: Path, student: str, labels: str, repetition: int
) -> dict[str, Any]:
    """Train a student, or read what it left."""
    out = options.work / "runs" / f"{student}-{labels}-{repetition}"
    training, val, test = sleepers(options.sleepers, repetition)
    few = labels == "two"
    night = NightOptions(
        prepared=prepared,
        sees=SEES[student],  # type: ignore[arg-type]
        methods=(options.method,),
        max_epochs=options.max_epochs,
        teacher_epochs=options.teacher_epochs,
        labels=training[:2] if few else ("scored",),
        labelled_per_batch=16 if few else None,
        val_subjects=val,
        test_subjects=test,
        out=out,
        resume=out.exists(),
    )
    return train_nights(night)


def summary(name: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means and standard deviations over sleepers of one student, and every sleeper."""
    student, labels, method, context = name.split("|")
    entry: dict[str, Any] = {
        "student": student,
        "labels": labels,
        "method": method,
        "context": context,
        "sleepers": len(runs),
    }
    for kind, read in (("five", lambda one: one), ("four", lambda one: one["four"])):
        for score in ("accuracy", "macro_f1", "kappa"):
            values = [read(one)[score] for one in runs]
            entry[f"{kind}_{score}"] = {
                "mean": round(float(np.mean(values)), 4),
                "sd": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None,
                "values": [round(float(value), 4) for value in values],
            }
    return entry


if __name__ == "__main__":
    chosen = tyro.cli(Options, description=__doc__)
    if unknown := sorted(set(chosen.students) - set(SEES)):
        raise SystemExit(f"--students {' '.join(unknown)}: expected some of {', '.join(SEES)}")
    main(chosen)
