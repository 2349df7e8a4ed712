"""What a night model knows of itself as the facts of a report, and as JSON inside an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xdistill.sleep.model import NightModel
from xdistill.sleep.report.distance import TrainingNights
from xdistill.sleep.report.held_out import HeldOutSleeper
from xdistill.sleep.report.student import StudentFacts


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


def trained_text(config: Mapping[str, Any], model: NightModel) -> dict[str, str]:
    """How a student was trained, a line for each thing that a reader may ask.

    Args:
        config: of the run.
        model: of the student.
    """
    context = {
        "none": "each epoch by itself",
        "hmm": "a hidden Markov model over the night",
        "head": "a network over the night",
    }[model.context.kind]
    when = "from this and earlier epochs alone" if model.context.causal else "from the whole night"
    nights = model.training_signals.get("nights")
    lines = {
        "Method": f"{model.method}, seed {model.seed}",
        "Taught by": _named(config.get("teacher")),
        "Network": _named(config.get("encoder", {}).get("name")),
        "Reads": " and ".join(READ.get(name, name) for name in model.modalities),
        "Decides": context if model.context.kind == "none" else f"with {context}, {when}",
        "Training nights": _named(nights),
        "Judged by": _named(model.held_out.get("judge")),
        "With N1 and N2 as one": _four_text(model.held_out.get("four")),
        "Benchmark": _named(config.get("benchmark")),
    }
    return {key: text for key, text in lines.items() if text}


READ = {"video": "the picture", "body": "movement and breathing"}


def _named(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _four_text(scores: Any) -> str:
    """Mean scores of four classes, where the run has them."""
    if isinstance(scores, Mapping):
        scores = [scores]
    if not scores:
        return ""
    means = {
        name: float(np.nanmean([_plain(one.get(name)) for one in scores]))
        for name in ("accuracy", "macro_f1", "kappa")
        if all(name in one for one in scores)
    }
    return ", ".join(f"{name.replace('_', '-')} {value:.2f}" for name, value in means.items())


def student_facts(
    name: str,
    trained: Mapping[str, str],
    held_out: Mapping[str, Any],
    signals: Mapping[str, Any],
) -> StudentFacts:
    """The facts of a report."""
    return StudentFacts(name, dict(trained), held_out_sleepers(held_out), training_nights(signals))
