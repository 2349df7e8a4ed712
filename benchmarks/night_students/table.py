"""The students of simulated nights as a table for the lab's guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONTEXTS = {"epoch": "each epoch alone", "hmm": "hidden Markov model", "head": "network"}


def nights_table(results: Mapping[str, Any]) -> str:
    """κ of five stages over sleepers, a row for each student, labels and method."""
    found = {
        (one["student"], one["labels"], one["method"], one["context"]): one
        for one in results["students"]
    }
    rows = dict.fromkeys(key[:3] for key in found)
    lines = [
        "| student sees | labels of | taught by EEG | " + " | ".join(CONTEXTS.values()) + " |",
        "|" + "---|" * (3 + len(CONTEXTS)),
    ]
    for student, labels, method in rows:
        taught = "" if method == "student" else method
        cells = [_cell(found.get((student, labels, method, context))) for context in CONTEXTS]
        lines.append(f"| {student} | {labels} | {taught} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    kappa = entry["five_kappa"]
    return f"{100 * kappa['mean']:.0f} ± {100 * kappa['sd']:.0f}"
