"""What a night model knows of itself, as the facts of a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xdistill.export import CONFIG
from xdistill.sleep.model import NightModel
from xdistill.sleep.report.distance import training_nights
from xdistill.sleep.report.held_out import held_out_sleepers, with_nan
from xdistill.sleep.report.student import StudentFacts
from xdistill.storage.json_file import read_json

RESULTS = "results.json"


def trained_text(run: Path, model: NightModel) -> dict[str, str]:
    """How a student was trained, a line for each thing that a reader may ask.

    Args:
        run: its folder.
        model: of the student.
    """
    config = read_json(run / CONFIG)
    results = read_json(run / RESULTS) if (run / RESULTS).is_file() else {}
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
        "Reads": " and ".join(READ[name] for name in model.modalities),
        "Decides": context if model.context.kind == "none" else f"with {context}, {when}",
        "Training nights": _named(nights),
        "Held-out sleepers compared with": judge_of(model.held_out),
        "With N1 and N2 as one": _four_text(model.held_out.get("four")),
        "Notes": "; ".join(map(str, results.get("notes", ()))),
    }
    return {key: text for key, text in lines.items() if text}


JUDGES = {"scored": "a scorer's stages", "yasa": "YASA's stages of the EEG, not a scorer's"}
READ = {"video": "the picture", "body": "movement and breathing"}


def judge_of(held_out: Mapping[str, Any]) -> str:
    """Whose stages those of held-out sleepers were compared with."""
    judge = _named(held_out.get("judge"))
    return JUDGES.get(judge, judge)


def _named(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _four_text(scores: Any) -> str:
    """Mean over sleepers of the scores of four classes, where the run has them."""
    if not isinstance(scores, Mapping) or not scores:
        return ""
    scores = list(scores.values())
    means = {
        name: float(np.nanmean([with_nan(one.get(name)) for one in scores]))
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
    return StudentFacts(
        name,
        dict(trained),
        held_out_sleepers(held_out),
        training_nights(signals),
        judge_of(held_out),
        signals.get("film_hz"),
    )
