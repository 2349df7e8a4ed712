"""What scorers and programs write for an epoch, and what it means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from xdistill.data.sleep_stages import N1, N2, N3, REM, STAGES, W, stage_of
from xdistill.sleep.marks import Mark

Score = int | Mark
"""A position in `STAGES`, or why there is none."""
Numbers = Literal["yasa", "rk"]
"""Whose numbers stand for stages: YASA's (4 is REM) or Rechtschaffen and Kales's (5 is REM)."""

MOVEMENT = ("m", "mt", "mvt", "mov", "movement", "movement time", "bm")
ARTEFACT = ("art", "artefact", "artifact", "arte")
UNSCORED = (
    "uns",
    "unscored",
    "?",
    "u",
    "unknown",
    "none",
    "nan",
    "na",
    "n/a",
    "",
    "l",
    "lights on",
)
WAKE = ("wake", "w", "wk", "awake", "wakefulness", "s0")
PREFIX = re.compile(r"^(sleep[ _-]?stage|stage|sleep)[ _:-]*(?=\S)")
"""Before a name; a number after it is Rechtschaffen and Kales's."""
NREM = re.compile(r"^(nrem|n|s)[ _-]?([1-4])$")
AFTER_PREFIX = {"0": W, "1": N1, "2": N2, "3": N3, "4": N3, "5": REM}
YASA = {0: W, 1: N1, 2: N2, 3: N3, 4: REM, -1: Mark.SCORED_ARTEFACT, -2: Mark.UNSCORED}
RK: dict[int, Score] = {
    **{0: W, 1: N1, 2: N2, 3: N3, 4: N3, 5: REM},
    **{6: Mark.SCORED_MOVEMENT, 7: Mark.UNSCORED, 8: Mark.UNSCORED, 9: Mark.UNSCORED},
    -1: Mark.UNSCORED,
}


def score_of(text: str) -> Score:
    """The stage of a name, or the mark of an epoch that has none.

    Raises:
        ValueError: any other text.
    """
    name = text.strip().casefold()
    prefix = PREFIX.match(name)
    plain = name[prefix.end() :].strip() if prefix else name
    if plain in MOVEMENT:
        return Mark.SCORED_MOVEMENT
    if plain in ARTEFACT:
        return Mark.SCORED_ARTEFACT
    if plain in UNSCORED:
        return Mark.UNSCORED
    if plain in WAKE:
        return W
    if match := NREM.match(plain):
        return min(int(match[2]), N3)
    if prefix and plain in AFTER_PREFIX:
        return AFTER_PREFIX[plain]
    stage = stage_of(plain)
    return Mark.UNSCORED if stage is None else stage


def is_about_stages(text: str) -> bool:
    """Whether an annotation that is no stage looks as if it should be one."""
    return bool(re.match(r"(sleep[ _-]?stage|stage\b|nrem|n\d|s\d$)", text.strip().casefold()))


def scores_of(texts: Sequence[str], numbers: Numbers | None, where: object) -> list[Score]:
    """The scores of a file whose epochs are all names, or all numbers.

    Args:
        texts: one for each epoch or block.
        numbers: whose numbers they are; None where the file must tell.
        where: the file, for messages.

    Raises:
        ValueError: a text that is no stage, or numbers that may be either.
    """
    if numbers not in (None, "yasa", "rk"):
        raise ValueError(f"numbers is 'yasa', 'rk' or None, got {numbers!r}")
    values = [_number(text) for text in texts]
    filled = [value for value, text in zip(values, texts, strict=True) if text.strip()]
    if not filled or None in filled:
        return [_named(text, at, where) for at, text in enumerate(texts, start=1)]
    known = {int(value) for value in filled if value is not None}
    table = YASA if (numbers or _whose(known, where)) == "yasa" else RK
    if unknown := sorted(known - set(table)):
        raise ValueError(
            f"{where} has the numbers {unknown}, which stand for no stage of "
            f"{'YASA' if table is YASA else 'Rechtschaffen and Kales'}; expected some of "
            f"{sorted(table)}"
        )
    return [Mark.UNSCORED if value is None else table[value] for value in values]


def _whose(known: set[int], where: object) -> Numbers:
    """Whose numbers these are; without 4 both mean the same stages."""
    if 4 not in known or known & {5, 6, 7, 8, 9}:
        return "yasa" if -2 in known else "rk"
    if -2 in known:
        return "yasa"
    raise ValueError(
        f"{where} has the numbers {sorted(known)}, where 4 may be REM (as YASA has it) or stage 4, "
        "which is N3 (Rechtschaffen and Kales); say which: numbers='yasa' or numbers='rk'"
    )


def _number(text: str) -> int | None:
    return int(float(text)) if re.fullmatch(r"\s*[+-]?\d+(\.0+)?\s*", text) else None


def _named(text: str, at: int, where: object) -> Score:
    try:
        return score_of(text)
    except ValueError as error:
        raise ValueError(
            f"{where} has {text!r} as the stage of its entry {at}; expected {', '.join(STAGES)}, "
            "stages of Rechtschaffen and Kales (S1 to S4), or a name of an epoch without a stage "
            "(UNS, ART, MT, ?)"
        ) from error
