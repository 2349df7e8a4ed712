"""What a night model knows of itself as the facts of a report, and as JSON inside an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from xdistill.sleep.report.distance import TrainingNights
from xdistill.sleep.report.held_out import HeldOutSleeper
from xdistill.sleep.report.student import StudentFacts
from xdistill.sleep.video_options import VideoOptions


def held_out_sleepers(held_out: Mapping[str, Any]) -> tuple[HeldOutSleeper, ...]:
    """The sleepers held out, from their entry in a run.

    Raises:
        ValueError: an entry that is none.
    """
    names = HeldOutSleeper._fields
    try:
        return tuple(
            HeldOutSleeper(**{name: _plain(one[name]) for name in names})
            for one in held_out.get("sleepers", ())
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"the scores of held-out sleepers are not what `xdistill train` writes "
            f"({type(error).__name__}: {error}); train the student again with this version"
        ) from error


def _plain(value: Any) -> Any:
    """A number that JSON could not hold (NaN) comes back as None."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return float("nan") if value is None else value


def training_nights(signals: Mapping[str, Any]) -> TrainingNights | None:
    """The body's features over the training nights; None where the run does not know them.

    Raises:
        ValueError: an entry that is none.
    """
    if not signals or not signals.get("names"):
        return None
    try:
        correlation = signals.get("correlation")
        return TrainingNights(
            tuple(signals["names"]),
            np.array([_plain(one) for one in signals["mean"]], float),
            np.array([_plain(one) for one in signals["sd"]], float),
            None
            if correlation is None
            else np.array([[_plain(one) for one in row] for row in correlation], float),
            int(signals["nights"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the signals of the training nights are not what `xdistill train` writes "
            f"({type(error).__name__}: {error}); train the student again with this version"
        ) from error


def student_facts(
    name: str,
    trained: Mapping[str, str],
    held_out: Mapping[str, Any],
    signals: Mapping[str, Any],
) -> StudentFacts:
    """The facts of a report."""
    return StudentFacts(name, dict(trained), held_out_sleepers(held_out), training_nights(signals))


def options_of(kept: Mapping[str, Any], where: str) -> VideoOptions:
    """The preprocessing as JSON gives it back.

    Raises:
        ValueError: an option that this version does not know.
    """
    known = {field.name for field in fields(VideoOptions)}
    if unknown := sorted(set(kept) - known):
        raise ValueError(
            f"{where} prepares films with the options {unknown}, which this version does not know; "
            "use the version that it was made with"
        )
    region = kept.get("region")
    return VideoOptions(**{**kept, "region": None if region is None else tuple(region)})
