"""Scored stretches of time become epochs of 30 s."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.sleep.hypnograms.hypnogram import NOT_SCORED, Hypnogram
from xdistill.sleep.hypnograms.scores import Score
from xdistill.sleep.marks import Mark

MARKS = (Mark.UNSCORED, Mark.SCORED_MOVEMENT, Mark.SCORED_ARTEFACT)
CLOSE_S = 0.05
"""Rounded times may overlap or differ by that much."""
LONGEST_S = 7 * 86400.0


class Block(NamedTuple):
    """A stretch of time with one score, in seconds."""

    start_s: float
    length_s: float
    score: Score


def hypnogram_of(blocks: Sequence[Block], where: object, scorer: str = "") -> Hypnogram:
    """Epochs of 30 s from the first block's start on.

    Where blocks are no multiples of 30 s, an epoch has the score of its longest part, and a warning
    counts such epochs. A last part that is shorter than half an epoch is left out.

    Args:
        blocks: in any order; time between them is unscored.
        where: the file, for messages.
        scorer: who scored.

    Raises:
        ValueError: no blocks, or blocks that overlap.
    """
    blocks = sorted((block for block in blocks if block.length_s > 0), key=_times)
    if not blocks:
        raise ValueError(f"{where} scores no time; expected stages with a length")
    for one, two in pairwise(blocks):
        if two.start_s < one.start_s + one.length_s - CLOSE_S:
            raise ValueError(
                f"{where} has a stage at {two.start_s:g} s, before the one at {one.start_s:g} s "
                f"ends at {one.start_s + one.length_s:g} s; expected one stage at a time"
            )
    first_s, end_s = blocks[0].start_s, blocks[-1].start_s + blocks[-1].length_s
    if end_s - first_s > LONGEST_S:
        raise ValueError(
            f"{where} has stages from {first_s:g} to {end_s:g} s, more than a week; correct its "
            "times"
        )
    parts = _parts(blocks, first_s, max(1, int((end_s - first_s) / EPOCH_S + 0.5)))
    mixed = int(((parts > CLOSE_S).sum(axis=1) > 1).sum())
    if mixed:
        lengths = sorted({round(block.length_s, 2) for block in blocks})
        warnings.warn(
            f"{where} is not scored in epochs of {EPOCH_S} s (its shortest stretch has "
            f"{lengths[0]:g} s): {mixed} of {len(parts)} epochs of {EPOCH_S} s hold several "
            "scores, and have that of their longest part",
            stacklevel=2,
        )
    return _of_codes(parts.argmax(axis=1), first_s, scorer)


def hypnogram_of_scores(scores: Sequence[Score], start_s: float, scorer: str = "") -> Hypnogram:
    """Scores of epochs of 30 s, the first of which begins at ``start_s``."""
    return _of_codes(np.array([_code(score) for score in scores], int), start_s, scorer)


def _times(block: Block) -> tuple[float, float]:
    return block.start_s, block.length_s


def _code(score: Score) -> int:
    return len(STAGES) + MARKS.index(score) if isinstance(score, Mark) else score


def _of_codes(codes: np.ndarray, start_s: float, scorer: str) -> Hypnogram:
    scored = codes < len(STAGES)
    marks = tuple(
        frozenset() if code < len(STAGES) else frozenset({MARKS[code - len(STAGES)]})
        for code in codes
    )
    stages = np.where(scored, codes, NOT_SCORED).astype(np.int8)
    return Hypnogram(stages, marks, start_s, None, scorer)


def _parts(blocks: Sequence[Block], first_s: float, count: int) -> np.ndarray:
    """Seconds of each epoch with each score: float64 [E, k]; what no block covers is unscored."""
    parts = np.zeros((count, len(STAGES) + len(MARKS)))
    for block in blocks:
        begin, end = block.start_s - first_s, block.start_s - first_s + block.length_s
        for epoch in range(int((begin + CLOSE_S) // EPOCH_S), count):
            inside = min(end, EPOCH_S * (epoch + 1)) - max(begin, EPOCH_S * epoch)
            if inside <= 0:
                break
            parts[epoch, _code(block.score)] += inside
    rest = EPOCH_S - parts.sum(axis=1)
    parts[:, len(STAGES)] += np.where(rest > CLOSE_S, rest, 0)
    return parts
