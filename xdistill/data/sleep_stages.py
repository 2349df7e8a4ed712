"""Five stages of sleep, and the words of a hypnogram that stand for them.

Rechtschaffen and Kales (1968) tell stages 3 and 4 apart; the AASM manual (2007) calls both N3.
"""

from __future__ import annotations

from typing import NamedTuple

STAGES = ("W", "N1", "N2", "N3", "REM")
EPOCH_S = 30
UNSCORED = ("Sleep stage ?", "Movement time")
"""Words for time that has no stage."""
STAGE_OF = {
    "Sleep stage W": 0,
    "Sleep stage 1": 1,
    "Sleep stage N1": 1,
    "Sleep stage 2": 2,
    "Sleep stage N2": 2,
    "Sleep stage 3": 3,
    "Sleep stage 4": 3,
    "Sleep stage N3": 3,
    "Sleep stage R": 4,
}
"""Position in `STAGES` of each word that the EDF+ standard has for a stage."""


class ScoredEpoch(NamedTuple):
    """30 s of a recording: where they start, and their position in `STAGES`."""

    start_s: float
    stage: int


def stage_of(text: str) -> int | None:
    """Position in `STAGES` of an annotation; None for unscored and movement time.

    Raises:
        ValueError: any other text.
    """
    if text in UNSCORED:
        return None
    if text not in STAGE_OF:
        raise ValueError(
            f"{text!r} is no stage of sleep; expected one of {', '.join((*STAGE_OF, *UNSCORED))}"
        )
    return STAGE_OF[text]


def scored_epochs(blocks: list[tuple[float, float, str]]) -> list[ScoredEpoch]:
    """Cuts blocks (start in s, length in s, annotation) into epochs of 30 s, those with a stage.

    Raises:
        ValueError: blocks that overlap, or an annotation that is no stage.
    """
    epochs: list[ScoredEpoch] = []
    end_s = float("-inf")
    for start_s, length_s, text in sorted(blocks):
        stage = stage_of(text)
        if start_s < end_s:
            raise ValueError(
                f"{text!r} starts at {start_s:g} s, before what precedes it ends at {end_s:g} s; "
                "expected one stage at a time"
            )
        end_s = start_s + length_s
        if stage is not None:
            count = int(length_s // EPOCH_S)  # less than an epoch at a block's end has no stage
            epochs += [ScoredEpoch(start_s + EPOCH_S * at, stage) for at in range(count)]
    return epochs
