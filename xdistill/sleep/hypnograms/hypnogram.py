"""A night's stages, epoch by epoch, and how they come to lie on a recording's epochs."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int8

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.sleep.grid import Grid
from xdistill.sleep.marks import Mark

NOT_SCORED = -1
SAME_S = 0.1
"""So much later or earlier is not worth a word: three frames of a film."""
OFF_GRID_S = 1.0
"""Headers of EDF hold whole seconds, so that a hypnogram may be that much off its recording."""


class Hypnogram(NamedTuple):
    """Stages of epochs of 30 s.

    Attributes:
        stages: int8 [E], positions in `STAGES`, and -1 where there is none.
        marks: for each epoch whether it is unscored, movement or artefact.
        start_s: beginning of its first epoch, in seconds since the recording's first sample.
        probabilities: float32 [E, 5] in the order of `STAGES`, NaN where there is no stage.
        scorer: a person's name, a program's, or "".
    """

    stages: Int8[np.ndarray, " E"]
    marks: tuple[frozenset[Mark], ...]
    start_s: float = 0.0
    probabilities: Float32[np.ndarray, "E k"] | None = None
    scorer: str = ""


def grid_of(hypnogram: Hypnogram, duration_s: float) -> Grid:
    """The epochs of a recording that a scorer saw: as the hypnogram's, in all of the recording.

    A hypnogram that starts 7 s after its recording has a grid that does so, too.

    Args:
        hypnogram: of the recording.
        duration_s: of the recording.
    """
    start_s = hypnogram.start_s % EPOCH_S
    if EPOCH_S - start_s < SAME_S:
        start_s = 0.0
    return Grid(start_s, max(0, int((duration_s - start_s) / EPOCH_S + 1e-6)))


def on_grid(hypnogram: Hypnogram, grid: Grid) -> Hypnogram:
    """The hypnogram in exactly the epochs of a grid.

    Epochs that it does not reach are unscored. Scored ones beyond the grid are counted in a
    warning, and so is a start that is off by less than `OFF_GRID_S`. Nothing else is shifted.

    Args:
        hypnogram: to be cut.
        grid: on the clock of the recording that ``hypnogram.start_s`` refers to.

    Raises:
        ValueError: the hypnogram's epochs begin more than `OFF_GRID_S` off those of the grid.
    """
    count = grid.count
    if count is None:
        end_s = hypnogram.start_s + EPOCH_S * len(hypnogram.stages)
        count = max(0, int((end_s - grid.start_s) / grid.epoch_s + 0.5))
    starts = np.array([grid.start_of(epoch) for epoch in range(count)])
    places = (starts - hypnogram.start_s) / EPOCH_S
    source = np.rint(places).astype(int)
    inside = (source >= 0) & (source < len(hypnogram.stages))
    _check_offset(abs(places - source)[inside] * EPOCH_S, hypnogram, grid)
    _warn_of_cut(hypnogram, inside, source)
    stages = np.full(count, NOT_SCORED, np.int8)
    stages[inside] = hypnogram.stages[source[inside]]
    probabilities = None
    if hypnogram.probabilities is not None:
        probabilities = np.full((count, len(STAGES)), np.nan, np.float32)
        probabilities[inside] = hypnogram.probabilities[source[inside]]
    unscored = frozenset({Mark.UNSCORED})
    marks = tuple(
        hypnogram.marks[at] if known else unscored for at, known in zip(source, inside, strict=True)
    )
    return Hypnogram(stages, marks, grid.start_s, probabilities, hypnogram.scorer)


def _check_offset(off_s: np.ndarray, hypnogram: Hypnogram, grid: Grid) -> None:
    if not len(off_s):
        return
    if (worst := float(off_s.max())) > OFF_GRID_S:
        raise ValueError(
            f"the hypnogram's epochs begin {worst:.3g} s off the recording's (it starts at "
            f"{hypnogram.start_s:g} s, and the epochs at {grid.start_s:g} s), expected at most "
            f"{OFF_GRID_S:g} s; cut the recording into epochs from {hypnogram.start_s % EPOCH_S:g} "
            "s on, as the scorer saw them"
        )
    if worst > SAME_S:
        warnings.warn(
            f"the hypnogram's epochs begin {worst:.2g} s off the recording's, and are taken as "
            "the same",
            stacklevel=3,
        )


def _warn_of_cut(hypnogram: Hypnogram, inside: np.ndarray, source: np.ndarray) -> None:
    kept = np.zeros(len(hypnogram.stages), bool)
    kept[source[inside]] = True
    outside = int((~kept & (hypnogram.stages != NOT_SCORED)).sum())
    if outside:
        warnings.warn(
            f"{outside} of {len(kept)} epochs of the hypnogram have a stage and lie outside the "
            "recording: they are left out",
            stacklevel=3,
        )
    if len(inside) and not inside.all():
        warnings.warn(
            f"the hypnogram covers {int(inside.sum())} of the recording's {len(inside)} epochs; "
            "the others are unscored",
            stacklevel=3,
        )
