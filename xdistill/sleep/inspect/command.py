"""Show what a run holds: methods, seeds, scores, preprocessing, files; and load its students."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from xdistill.sleep.inspect.contents import FileState, RunContents, StudentState, run_contents
from xdistill.sleep.model import NIGHT, NightModel
from xdistill.sleep.report.held_out import (
    HeldOutSleeper,
    held_out_sleepers,
    limits_of_agreement,
)
from xdistill.sleep.report.statistics import MEASURES

SHOWN = ("TST", "SE", "SOL", "WASO", "REM_latency", "N3", "REM")
SCORES = ("accuracy", "macro_f1", "kappa")


@dataclass(frozen=True)
class Options:
    """What to look into."""

    run: Positional[Path]
    """Folder of a run."""
    student: str | None = None
    """Show this method's sleepers one by one; the one that validation preferred when left out."""
    seed: int | None = None
    """Which of the method's students; that of the preferred one, or 0, when left out."""


def run(options: Options) -> int:
    """Print it. 1 if a file is damaged or a student cannot be loaded."""
    contents = run_contents(options.run)
    print("\n".join(contents_lines(contents, options.student, options.seed)))
    return 0 if contents.sound else 1


def contents_lines(
    contents: RunContents, student: str | None = None, seed: int | None = None
) -> list[str]:
    """What is printed of a run, the sleepers of one student one by one.

    Raises:
        ValueError: the run has no such student.
    """
    lines = [f"run  {contents.folder}"]
    if contents.folds:
        lines.append(f"folds of a cross-validation: {', '.join(contents.folds)}; inspect each")
    lines += _settings(contents)
    lines += _students(contents)
    chosen = _chosen(contents, student, seed)
    if chosen is not None and isinstance(chosen.model, NightModel):
        lines += _sleepers(chosen, chosen.model)
    lines += _files(contents.files)
    return lines


def _settings(contents: RunContents) -> Iterator[str]:
    config = contents.config
    if not config:
        return
    encoder = config.get("encoder")
    if encoder is None:
        yield "not finished: continue it with --resume"
    else:
        yield f"encoder  {encoder['name']}  {_pairs(encoder['options'])}"
    yield f"classes  {', '.join(config.get('classes', ()))}"
    for name in ("benchmark", "teacher", "case", "max_epochs", "label_fraction"):
        if config.get(name) is not None:
            yield f"{name.replace('_', ' ')}  {config[name]}"
    if (splits := contents.results.get("splits") or config.get("splits")) is not None:
        yield f"splits  {_pairs(splits) if isinstance(splits, Mapping) else splits}"
    if (night := config.get(NIGHT)) is not None:
        yield f"reads  {night['modality'].replace('_', ' and ')}"
        yield f"preprocessing  {_pairs(night['video'])}"
        yield f"training nights  {night['training_signals'].get('nights', 'unknown')}"
    if contents.kept is not None:
        yield f"preferred by validation  {contents.kept[0]}, seed {contents.kept[1]}"


def _students(contents: RunContents) -> Iterator[str]:
    if not contents.students:
        return
    header = ("student", "seed", "loads", "context", "sleepers", *SCORES)
    yield ""
    yield from _columns([header, *(_student_row(one) for one in contents.students)])
    for one in contents.students:
        if one.problem is not None:
            yield f"{one.method}, seed {one.seed}: {one.problem}"


def _student_row(one: StudentState) -> tuple[str, ...]:
    own = (one.method, str(one.seed), "yes" if one.problem is None else "NO")
    if not isinstance(one.model, NightModel):
        return (*own, *[""] * (2 + len(SCORES)))
    context = one.model.context
    kind = f"{context.kind}{', causal' * context.causal}"
    sleepers = held_out_sleepers(one.model.held_out)
    means = [_mean([getattr(each, name) for each in sleepers]) for name in SCORES]
    return (*own, kind, str(len(sleepers)), *means)


def _mean(values: Sequence[float]) -> str:
    known = [one for one in values if math.isfinite(one)]
    return f"{sum(known) / len(known):.3f}" if known else "–"


def _chosen(contents: RunContents, method: str | None, seed: int | None) -> StudentState | None:
    if method is None and contents.kept is not None:
        method = contents.kept[0]
        seed = contents.kept[1] if seed is None else seed
    if method is None:
        return None
    for one in contents.students:
        if (one.method, one.seed) == (method, seed or 0):
            return one
    known = ", ".join(f"{one.method} ({one.seed})" for one in contents.students) or "none"
    raise ValueError(
        f"{contents.folder} has no student of method {method!r} and seed {seed or 0}; it has "
        f"(method and seed) {known}"
    )


def _sleepers(one: StudentState, model: NightModel) -> Iterator[str]:
    sleepers = held_out_sleepers(model.held_out)
    if not sleepers:
        return
    judge = model.held_out.get("judge")
    yield ""
    yield (
        f"held-out sleepers of {one.method}, seed {one.seed}"
        f"{f', compared with the stages of {judge}' if judge else ''}"
    )
    rows = [
        (each.name, str(each.epochs), *(f"{getattr(each, name):.3f}" for name in SCORES))
        for each in sleepers
    ]
    yield from _columns([("sleeper", "epochs", *SCORES), *rows])
    yield ""
    yield from _columns([("student − scorer", "mean error", "95 % limits"), *_limits(sleepers)])


def _limits(sleepers: Sequence[HeldOutSleeper]) -> Iterator[tuple[str, ...]]:
    for measure in MEASURES:
        if measure.name in SHOWN:
            one = limits_of_agreement(sleepers, measure.name)
            limits = f"{one.low:+.1f} to {one.high:+.1f}" if math.isfinite(one.low) else "–"
            bias = f"{one.bias:+.1f}" if one.sleepers else "–"
            yield f"{measure.label} ({measure.unit})", bias, limits


def _files(files: Sequence[FileState]) -> Iterator[str]:
    states = {True: "checksum right", False: "no checksum"}
    yield ""
    rows = [
        (one.path, f"{one.bytes:,}", "DAMAGED" if one.problem else states[one.checked])
        for one in files
    ]
    yield from _columns([("file", "bytes", "state"), *rows])
    for one in files:
        if one.problem is not None:
            yield f"{one.path}: {one.problem}"


def _pairs(content: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in content.items())


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
