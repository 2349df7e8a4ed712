"""What a benchmark's methods gain on its baselines, in one sentence, whichever way it falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xdistill.experiment.methods import ALONE, BASELINES, BOUND
from xdistill.report import is_clear, paired_interval

NOISE = 0.02
"""Seeds of a small run differ by about so much macro-F1; with a single seed nothing less counts."""


def gain(results: Mapping[str, Any], methods: Sequence[str]) -> str:
    """The best method against the best baseline: difference in macro-F1 and accuracy on test.

    The method is chosen on validation; the baseline, which may be the student alone, on test, which
    is in the baseline's favour.

    Args:
        results: what `run_benchmark` returns.
        methods: which of them were run; those that are baselines are no candidates.
    """
    candidates = [name for name in methods if name not in BASELINES]
    if not candidates:
        return "No method was compared, only baselines."
    best = max(candidates, key=lambda name: float(np.mean(results[name]["val_macro_f1"])))
    rivals = [ALONE, *(name for name in BASELINES if name in results)]
    rival = max(rivals, key=lambda name: results[name]["macro_f1"])
    f1, accuracy = (_gap(results, best, rival, name) for name in ("macro_f1", "accuracy"))
    count = len(results[best]["runs"])
    seeds = "1 seed" if count == 1 else f"{count} seeds"
    others = {"the student alone has": ALONE, "with all labels it has": BOUND}
    context = [
        f"{text} {100 * results[name]['macro_f1']:.1f}"
        for text, name in others.items()
        if name in results
    ]
    return (
        f"{best} against {rival}, the best baseline: {_points(f1)} macro-F1 and "
        f"{_points(accuracy)} accuracy ({seeds}), {_verdict(f1)}; {', '.join(context)}."
    )


def _gap(results: Mapping[str, Any], one: str, other: str, score: str) -> dict[str, Any]:
    """The difference of two methods in a score, paired by seed."""
    pairs = zip(results[one]["runs"], results[other]["runs"], strict=True)
    return paired_interval([a[score] - b[score] for a, b in pairs])


def _points(gap: Mapping[str, Any]) -> str:
    text = f"{100 * gap['mean']:+.1f}"
    return text if gap["half_width"] is None else f"{text} ± {100 * gap['half_width']:.1f}"


def _verdict(gap: Mapping[str, Any]) -> str:
    word = "a gain" if gap["mean"] > 0 else "a loss"
    if gap["half_width"] is not None:
        return word if is_clear(gap) else "within noise"
    return f"{word} as far as one seed can tell" if abs(gap["mean"]) >= NOISE else "within noise"
