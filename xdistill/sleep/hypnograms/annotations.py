"""Hypnograms as EDF+ annotations, and as Luna's .annot."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from xdistill.data.files.edf_annotations import read_edf_annotations
from xdistill.data.sleep_stages import EPOCH_S
from xdistill.sleep.hypnograms.blocks import Block, hypnogram_of
from xdistill.sleep.hypnograms.clock import DAY_S, day_s, seconds_of, shift_s
from xdistill.sleep.hypnograms.hypnogram import Hypnogram
from xdistill.sleep.hypnograms.scores import Score, is_about_stages, score_of
from xdistill.sleep.hypnograms.text import text_of

ELAPSED = re.compile(r"0\+(\d+):(\d\d):(\d\d(?:\.\d+)?)")
"""Luna's time since the start of the recording."""


def read_edf_hypnogram(path: Path, recording_start: datetime | None) -> Hypnogram:
    """Stages among the annotations of an EDF+ file; other annotations are counted in a warning.

    Raises:
        ValueError: a damaged file, no stages, a stage that is none, or one of another night.
    """
    start, annotations = read_edf_annotations(path, "sleep")
    first_s = shift_s(start, recording_start, path)
    found = _stages([text for *_, text in annotations], path)
    blocks = [
        Block(first_s + start_s, length_s, score)
        for (start_s, length_s, _), score in zip(annotations, found, strict=True)
        if score is not None
    ]
    return hypnogram_of(_with_lengths(blocks, path), path)


def read_luna_hypnogram(path: Path, recording_start: datetime | None) -> Hypnogram:
    """Stages of a .annot file: class, instance, channel, start, stop and meta between tabs.

    Raises:
        ValueError: a file of another form, no stages, or a stage that is none.
    """
    rows = [
        line.split("\t") if "\t" in line else line.split()
        for line in text_of(path).splitlines()
        if line.strip() and not line.startswith("#")
    ]
    rows = [row for row in rows if row[0].strip().casefold() != "class"]
    short = next((row for row in rows if len(row) < 5), None)
    if not rows or short is not None:
        raise ValueError(
            f"{path} has {'the line ' + repr(' '.join(short)) if short else 'no annotation'}; "
            "expected class, instance, channel, start, stop and meta, with a tab between"
        )
    scores = _stages([_luna_name(row) for row in rows], path)
    kept = [(row, score) for row, score in zip(rows, scores, strict=True) if score is not None]
    starts = _luna_times([row[3] for row, _ in kept], recording_start, path)
    stops = [row[4].strip() for row, _ in kept]
    blocks = []
    for (_, score), start_s, stop in zip(kept, starts, stops, strict=True):
        blocks.append(Block(start_s, _luna_length(stop, start_s, recording_start, path), score))
    return hypnogram_of(_with_lengths(blocks, path), path)


def _stages(texts: Sequence[str], path: Path) -> list[Score | None]:
    """The score of each annotation, None for those about something else."""
    scores: list[Score | None] = []
    others: Counter[str] = Counter()
    for text in texts:
        try:
            scores.append(score_of(text))
        except ValueError as error:
            if is_about_stages(text):
                raise ValueError(f"{path}: {error}") from error
            scores.append(None)
            others[text] += 1
    if not any(isinstance(score, int) for score in scores):
        raise ValueError(
            f"{path} has no stage among its {len(texts)} annotations "
            f"({', '.join(repr(text) for text in list(dict.fromkeys(texts))[:10])}); expected "
            "'Sleep stage W', 'N2' and so on"
        )
    if others:
        shown = ", ".join(f"{text!r}" for text, _ in others.most_common(5))
        warnings.warn(
            f"{path} has {sum(others.values())} annotations that are no stages ({shown}); they are "
            "not read",
            stacklevel=2,
        )
    return scores


def _with_lengths(blocks: list[Block], path: Path) -> list[Block]:
    """A stage without a length lasts until the next; the last of them for an epoch."""
    blocks = sorted(blocks, key=lambda block: block.start_s)
    lacking = sum(block.length_s <= 0 for block in blocks)
    if not lacking:
        return blocks
    warnings.warn(
        f"{path} has {lacking} stages without a length: each lasts until the next stage, and the "
        f"last for {EPOCH_S} s",
        stacklevel=3,
    )
    ends = [*(block.start_s for block in blocks[1:]), blocks[-1].start_s + EPOCH_S]
    return [
        block if block.length_s > 0 else block._replace(length_s=end - block.start_s)
        for block, end in zip(blocks, ends, strict=True)
    ]


def _luna_name(row: Sequence[str]) -> str:
    """The stage is the class, or the instance of a class "SleepStage"; "?" may say why."""
    name, instance = row[0].strip(), row[1].strip()
    general = re.fullmatch(r"(sleep)?[ _-]?stag(e|ing)s?|\?", name, re.IGNORECASE)
    return instance if general and instance != "." else name


def _luna_times(texts: Sequence[str], recording_start: datetime | None, path: Path) -> list[float]:
    elapsed = [ELAPSED.fullmatch(text.strip()) for text in texts]
    if all(elapsed) and texts:
        return [int(one[1]) * 3600.0 + int(one[2]) * 60 + float(one[3]) for one in elapsed if one]
    return seconds_of(texts, recording_start, path)


def _luna_length(stop: str, start_s: float, recording_start: datetime | None, path: Path) -> float:
    if stop == "...":
        return 0.0
    if stop.startswith("+"):
        return seconds_of([stop[1:]], None, path)[0]
    end_s = _luna_times([stop], recording_start, path)[0]
    if day_s(stop) is not None:
        return (end_s - start_s) % DAY_S
    if end_s < start_s:
        raise ValueError(f"{path} has a stage from {start_s:g} to {end_s:g} s; correct its times")
    return end_s - start_s
