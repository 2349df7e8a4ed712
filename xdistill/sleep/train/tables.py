"""The results of sleepers held out, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xdistill.sleep.report.held_out import FEW
from xdistill.sleep.train.scores import STATISTICS, SleeperScores, over_sleepers

UNITS = {"SE": "%"}


def nights_table(judged: Mapping[str, Mapping[str, list[SleeperScores]]], judge: str) -> str:
    """A row for each method and context: means ± standard deviations over sleepers, per cent."""
    header = ["", "accuracy", "macro-F1", "kappa", "accuracy, 4", "macro-F1, 4", "kappa, 4"]
    rows, sleepers = [header], 0
    for method, contexts in judged.items():
        for context, some in contexts.items():
            summary = over_sleepers(some)
            sleepers = max(sleepers, len({one.five.name for one in some}))
            scores = [
                _cell(summary[kind][name])
                for kind in ("five", "four")
                for name in ("accuracy", "macro_f1", "kappa")
            ]
            rows.append([f"{method}, {context}", *scores])
    whose = "a scorer" if judge == "scored" else "YASA"
    title = (
        f"\nHeld-out sleepers: {sleepers}, against {whose}; mean ± sd over sleepers, per cent; 4: "
        "N1 and N2 as one stage"
    )
    return f"{title}\n\n{_laid_out(rows)}"


def agreement_table(title: str, sleepers: Sequence[SleeperScores]) -> str:
    """Bias and limits of agreement of the sleep statistics."""
    summary = over_sleepers(sleepers)
    rows = [["", "bias", "limits of agreement", "mean |difference|", "sleepers"]]
    for name, one in summary["statistics"].items():
        limits = "" if one["low"] != one["low"] else f"{one['low']:+.1f} to {one['high']:+.1f}"
        bias = "" if one["bias"] != one["bias"] else f"{one['bias']:+.1f}"
        apart = "" if one["absolute"] != one["absolute"] else f"{one['absolute']:.1f}"
        unit = UNITS.get(name, "min")
        rows.append([f"{name} ({unit})", bias, limits, apart, str(one["sleepers"])])
    count = summary["sleepers"]
    few = "" if count >= FEW else f"; {count} sleepers tell the limits only roughly"
    assert len(rows) == len(STATISTICS) + 1
    return f"Sleep statistics of {title}, student less reference{few}\n\n{_laid_out(rows)}"


def _cell(spread: Mapping[str, Any]) -> str:
    if spread["mean"] is None:
        return ""
    mean = f"{100 * spread['mean']:.1f}"
    return mean if spread["sd"] is None else f"{mean} ± {100 * spread['sd']:.1f}"


def _laid_out(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "─" * len(lines[0]))
    return "\n".join(lines)
