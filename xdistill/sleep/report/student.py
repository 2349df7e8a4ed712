"""What a report says about the student: where it comes from, and how good it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xdistill.sleep.report.distance import TrainingNights
from xdistill.sleep.report.held_out import HeldOutSleeper


class StudentFacts(NamedTuple):
    """The facts of a student that a reader of its nights has to know.

    Attributes:
        name: of its run.
        trained: how, a value for each thing that a reader may ask: method, teacher, nights, …
        held_out: sleepers whom neither training nor selection saw; empty where there were none.
        training: the body's features over the training nights; None where they are not known.
        judge: whose stages those of held-out sleepers were compared with.
        film_hz: lowest frame rate of the films that it was trained on; None where not known.
    """

    name: str
    trained: Mapping[str, str]
    held_out: tuple[HeldOutSleeper, ...] = ()
    training: TrainingNights | None = None
    judge: str = "a scorer's stages"
    film_hz: float | None = None
