"""Hypnograms as text: one stage in each line, or a table with its columns named."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.sleep.hypnograms.blocks import Block, hypnogram_of, hypnogram_of_scores
from xdistill.sleep.hypnograms.clock import seconds_of
from xdistill.sleep.hypnograms.hypnogram import Hypnogram
from xdistill.sleep.hypnograms.scores import Numbers, Score, scores_of
from xdistill.sleep.hypnograms.text import text_of

COLUMNS = {
    "stage": (
        *("stage", "stages", "sleep_stage", "sleepstage", "sleep stage", "hypnogram", "hypno"),
        *("description", "label", "score", "scoring", "class", "annotation", "event"),
    ),
    "onset": ("onset", "start", "start_s", "onset_s", "begin", "time", "start_time", "start time"),
    "length": ("duration", "duration_s", "dur", "length", "length_s"),
    "epoch": ("epoch", "epochs", "epoch_number", "epoch number", "number", "nr", "no"),
    "scorer": ("scorer", "rater"),
}
"""Names of columns, in any case; the first that a table has is taken."""
PROBABILITIES = ({"w", "wake"}, {"n1"}, {"n2"}, {"n3"}, {"r", "rem"})
STEP_S = 0.05


class Table(NamedTuple):
    """Names of columns in lower case, none where the file has none, and rows of texts."""

    names: tuple[str, ...]
    rows: list[list[str]]

    def column(self, what: str) -> list[str] | None:
        """The texts of a column of `COLUMNS`; None if there is none."""
        at = next((self.names.index(one) for one in COLUMNS[what] if one in self.names), None)
        return None if at is None else [row[at].strip() for row in self.rows]


def read_text_hypnogram(
    path: Path,
    recording_start: datetime | None,
    numbers: Numbers | None,
    epoch_s: float,
) -> Hypnogram:
    """Stages from a text: one in each line, or a table with commas, semicolons or tabs.

    A table has a column with stages. Times are in a column of epochs (from 0 or 1) or of starts,
    perhaps with durations; without both its rows are epochs that follow each other. Columns named
    after the stages hold probabilities.

    Raises:
        ValueError: a file of another form, a text that is no stage, or numbers that may mean
            either of two stages.
    """
    lines = [line for line in text_of(path).splitlines() if not line.startswith("#")]
    while lines and not lines[-1].strip():
        lines.pop()
    delimiter = next((each for each in "\t;," if lines and each in lines[0]), None)
    if delimiter is None:
        return _list(path, [line.strip() for line in lines], numbers, epoch_s)
    table, scorer = _table(path, lines, delimiter)
    texts = table.column("stage") or []
    blocks = _blocks(path, table, texts, recording_start, numbers, epoch_s)
    named = table.column("scorer")
    found = hypnogram_of(blocks, path, named[0] if named else scorer)
    return found._replace(probabilities=_probabilities(path, table, len(found.stages)))


def _list(path: Path, texts: list[str], numbers: Numbers | None, epoch_s: float) -> Hypnogram:
    if texts and texts[0].casefold() in COLUMNS["stage"]:
        texts = texts[1:]
    if not texts or (empty := next((at for at, one in enumerate(texts, 1) if not one), None)):
        raise ValueError(
            f"{path} has no stage in line {empty if texts else 1}; expected one in each line "
            "('UNS' for an epoch without)"
        )
    scores = scores_of(texts, numbers, path)
    if epoch_s == EPOCH_S:
        return hypnogram_of_scores(scores, 0.0)
    blocks = [Block(at * epoch_s, epoch_s, score) for at, score in enumerate(scores)]
    return hypnogram_of(blocks, path)


def _table(path: Path, lines: Sequence[str], delimiter: str) -> tuple[Table, str]:
    """The table, and the scorer where a column is named after one, as YASA's is."""
    rows = [row for row in csv.reader(lines, delimiter=delimiter) if any(map(str.strip, row))]
    head = [name.strip() for name in rows[0]]
    names = [name.casefold() for name in head]
    scorer = ""
    stages = COLUMNS["stage"]
    known = {name for each in COLUMNS.values() for name in each}
    if not any(name in stages for name in names):
        if len(names) == 2 and names[0] in ("time", "epoch"):
            names[1], scorer = "stage", head[1]
        elif len(names) == 2 and not known & set(names):
            rows.insert(0, [])
            names = ["epoch" if _counts([row[0] for row in rows[1:]]) else "onset", "stage"]
        else:
            raise ValueError(
                f"{path} has the columns {head}, and none with stages; expected one named "
                f"{', '.join(stages[:4])} or so, and perhaps epoch, onset and duration"
            )
    for at, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise ValueError(
                f"{path} has {len(row)} fields in its row {at} ({delimiter.join(row)[:80]!r}), "
                f"expected {len(names)}: {', '.join(names)}"
            )
    if not rows[1:]:
        raise ValueError(f"{path} has the names of its columns and no row; export it again")
    if delimiter == ";":
        rows = [[re.sub(r"^(\s*-?\d+),(\d+\s*)$", r"\1.\2", one) for one in row] for row in rows]
    return Table(tuple(names), rows[1:]), scorer


def _blocks(
    path: Path,
    table: Table,
    texts: list[str],
    recording_start: datetime | None,
    numbers: Numbers | None,
    epoch_s: float,
) -> list[Block]:
    scores = scores_of(texts, numbers, path)
    onsets, epochs, lengths = (table.column(what) for what in ("onset", "epoch", "length"))
    if onsets is not None:
        starts = seconds_of(onsets, recording_start, path)
    elif epochs is not None:
        starts = [epoch_s * at for at in _epochs(path, epochs)]
    else:
        starts = [epoch_s * at for at in range(len(scores))]
    if lengths is not None:
        spans = seconds_of(lengths, None, path)
    elif onsets is not None:
        spans = [_step(path, starts, scores, epoch_s)] * len(starts)
    else:
        spans = [epoch_s] * len(starts)
    return [Block(*one) for one in zip(starts, spans, scores, strict=True)]


def _epochs(path: Path, texts: Sequence[str]) -> list[int]:
    try:
        found = [int(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{path} has an epoch that is no number ({error})") from error
    if min(found) not in (0, 1) or len(set(found)) < len(found):
        raise ValueError(
            f"{path} has epochs from {min(found)} to {max(found)}, {len(found) - len(set(found))} "
            "of them twice; expected each once, from 0 or 1 on: give their starts in a column "
            "'onset' instead"
        )
    return [at - min(found) for at in found]


def _step(path: Path, starts: Sequence[float], scores: Sequence[Score], epoch_s: float) -> float:
    """Without durations the usual step between starts is one epoch, and more is unscored.

    Rows that differ in their step and never repeat a stage may be changes of stage instead, each of
    which lasts until the next: which of the two is not known.
    """
    steps = np.diff(starts)
    if not len(steps):
        return epoch_s
    if (steps <= 0).any():
        at = int(np.flatnonzero(steps <= 0)[0])
        raise ValueError(
            f"{path} has a start at {starts[at + 1]:g} s after one at {starts[at]:g} s; sort its "
            "rows, or add a column 'duration'"
        )
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    repeated = any(one == two for one, two in pairwise(scores))
    uneven = abs(steps / usual - np.rint(steps / usual)) * usual > STEP_S
    if uneven.any() or (steps.max() - usual > STEP_S and not repeated):
        raise ValueError(
            f"{path} has starts that are {steps.min():g} to {steps.max():g} s apart, and no "
            "durations; add a column 'duration'"
        )
    return usual


def _counts(texts: Sequence[str]) -> bool:
    """Whether these are numbers of epochs, each one more than the one before."""
    numbers = [int(text) for text in texts if re.fullmatch(r"\s*\d+\s*", text)]
    return len(numbers) == len(texts) and all(np.diff(numbers) == 1)


def _probabilities(path: Path, table: Table, count: int) -> Float32[np.ndarray, "E k"] | None:
    places = [
        next((at for at, name in enumerate(table.names) if name in names), None)
        for names in PROBABILITIES
    ]
    if None in places:
        return None
    if len(table.rows) != count:
        raise ValueError(
            f"{path} has probabilities in {len(table.rows)} rows for {count} epochs of {EPOCH_S} "
            "s; expected a row for each epoch"
        )
    values = [[row[at] for at in places if at is not None] for row in table.rows]
    try:
        found = np.array([[float(one or "nan") for one in row] for row in values], np.float32)
    except ValueError as error:
        raise ValueError(f"{path} has a probability that is no number ({error})") from error
    sums = found.sum(axis=1)
    if not (np.isnan(sums) | (abs(sums - 1) < 0.02)).all() or (found < 0).any():
        raise ValueError(
            f"{path} has probabilities of {', '.join(STAGES)} that do not sum to 1 in each row"
        )
    return found
