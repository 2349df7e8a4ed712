"""The five stages of sleep: the one list of their names, and the names that mean the same.

The names are those of the AASM manual (2007), with "REM" for its "R". Rechtschaffen and Kales
(1968, R&K) distinguish stages 3 and 4; the AASM manual calls both N3.
"""

from __future__ import annotations

from typing import NamedTuple

STAGES = ("W", "N1", "N2", "N3", "REM")
W, N1, N2, N3, REM = range(5)
"""Positions in `STAGES`, which are class indices."""
EPOCH_S = 30
ANNOTATION = "Sleep stage "
"""What EDF+ puts before the name of a stage."""
SYNONYMS = {
    "W": W,
    "Wake": W,
    "N1": N1,
    "S1": N1,
    "N2": N2,
    "S2": N2,
    "N3": N3,
    "S3": N3,
    "S4": N3,
    "R": REM,
    "REM": REM,
}
"""Names of stages in both manuals, in any case, with or without `ANNOTATION` before them."""
NUMBERED = {"1": N1, "2": N2, "3": N3, "4": N3}
"""R&K's numbers. They count only after `ANNOTATION`: alone, a number may be a class index."""
UNSCORED = ("?", "Movement time", "Movement", "MT")
"""Names of epochs without a stage, in any case, with or without `ANNOTATION` before them."""


class ScoredEpoch(NamedTuple):
    """30 s of a recording: their start, and the stage as a position in `STAGES`."""

    start_s: float
    stage: int


def stage_of(text: str) -> int | None:
    """Position in `STAGES` of a stage's name; None for movement time and unscored epochs.

    Raises:
        ValueError: any other text.
    """
    name = text.strip().lower()
    known = {each.lower(): stage for each, stage in SYNONYMS.items()}
    if name.startswith(ANNOTATION.lower()):
        name = name.removeprefix(ANNOTATION.lower())
        known |= NUMBERED
    if name in known:
        return known[name]
    if name in (each.lower() for each in UNSCORED):
        return None
    raise ValueError(
        f"{text!r} is no sleep stage; expected one of {', '.join(SYNONYMS)} (also after "
        f"{ANNOTATION!r}, where 1 to 4 are stages too), or {', '.join(UNSCORED)} for no stage"
    )


def scored_epochs(blocks: list[tuple[float, float, str]]) -> list[ScoredEpoch]:
    """Cuts blocks (start in s, length in s, annotation) into epochs of 30 s that have a stage.

    Raises:
        ValueError: blocks that overlap, or an annotation that is no stage.
    """
    epochs: list[ScoredEpoch] = []
    end_s = float("-inf")
    for start_s, length_s, text in sorted(blocks):
        stage = stage_of(text)
        if start_s < end_s:
            raise ValueError(
                f"{text!r} starts at {start_s:g} s, before the previous annotation ends at "
                f"{end_s:g} s; expected one stage at a time"
            )
        end_s = start_s + length_s
        if stage is not None:
            count = int(length_s // EPOCH_S)  # a remainder shorter than an epoch has no stage
            epochs += [ScoredEpoch(start_s + EPOCH_S * at, stage) for at in range(count)]
    return epochs
