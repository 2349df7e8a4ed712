"""Results of a benchmark and of SACD's ablations as Markdown tables, in per cent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xdistill.experiment.methods import ALONE, BOUND, ROWS, TEACHER
from xdistill.report import SCALARS, Interval, is_clear


def benchmark_table(results: Mapping[str, Any]) -> str:
    """A row per method of a results.json, best accuracy first below teacher, student and bound.

    Where baselines were run, there is a column with the difference to the best of them.
    """
    methods = [name for name, one in results.items() if is_entry(one)]
    first = [name for name in (TEACHER, ALONE, BOUND) if name in methods]
    rest = [name for name in methods if name not in first]
    rest.sort(key=lambda name: -results[name]["accuracy"])
    head = ["accuracy", "macro-F1", "κ", "accuracy minus student alone"]
    if "baseline" in results:
        head.append(f"accuracy minus {results['baseline']}")
    lines = [
        f"| | {' | '.join(head)} |",
        "|---" * (1 + len(head)) + "|",
        *(_benchmark_row(name, results[name], len(head)) for name in (*first, *rest)),
    ]
    return "\n".join(lines) + "\n"


def is_entry(one: Any) -> bool:
    """Whether a value of results.json is the entry of a network."""
    return isinstance(one, dict) and "accuracy" in one


def _benchmark_row(name: str, entry: Mapping[str, Any], columns: int) -> str:
    half = entry["confidence_95"]
    cells = [str(Interval(entry[one], half[one])) for one in SCALARS]
    gaps = [entry.get(f"difference_to_{other}", {}) for other in ("student", "baseline")]
    cells += [difference(gap.get("accuracy")) for gap in gaps[: columns - 3]]
    return f"| {' | '.join([ROWS.get(name, name), *cells])} |"


def difference(gap: Mapping[str, float | None] | None) -> str:
    """A paired difference with sign and interval, bold where the interval leaves zero out."""
    if gap is None or gap["mean"] is None:
        return ""
    text = f"{100 * gap['mean']:+.1f}"
    if gap["half_width"] is not None:
        text += f" ± {100 * gap['half_width']:.1f}"
    return f"**{text}**" if is_clear(gap) else text


def parts_table(results: Mapping[str, Any]) -> str:
    """Each variant's difference to SACD on validation, in points, best mean first."""
    conditions = list(results["mean"])
    head = ["", "mean", "better", "worse", *conditions]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    gaps = results["difference_to_sacd"]
    for name in sorted(gaps, key=lambda name: -gaps[name]):
        mean = results["mean"]
        each = [f"{100 * (mean[c][name] - mean[c]['sacd']):+.1f}" for c in conditions]
        counts = [str(results[key][name]) for key in ("better_in", "worse_in")]
        lines.append(f"| {' | '.join([name, f'{100 * gaps[name]:+.2f}', *counts, *each])} |")
    return "\n".join(lines) + "\n"


def combinations_table(results: Mapping[str, Any]) -> str:
    """Gain over the student alone on validation, in points, and average rank, best rank first."""
    mean, ranks = results["mean"], results["average_rank"]
    shares = list(dict.fromkeys(condition.rpartition(" ")[2] for condition in mean))
    head = ["", "average rank", *(f"gain with {100 * float(s):g} % of the labels" for s in shares)]
    head.append("smallest and largest gain")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in sorted(ranks, key=ranks.__getitem__):
        gaps = {key: 100 * (one[name] - one[ALONE]) for key, one in mean.items()}
        cells = [f"{ranks[name]:.1f}"]
        for share in shares:
            own = [gap for key, gap in gaps.items() if key.rpartition(" ")[2] == share]
            cells.append(f"{sum(own) / len(own):+.1f}")
        cells.append(f"{min(gaps.values()):+.1f}, {max(gaps.values()):+.1f}")
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines) + "\n"


def conditions_table(results: Mapping[str, Any]) -> str:
    """Macro-F1 on validation in each condition, best average rank first."""
    mean, ranks = results["mean"], results["average_rank"]
    head = ["", "average rank", *mean]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in sorted(ranks, key=ranks.__getitem__):
        cells = [f"{ranks[name]:.1f}", *(f"{100 * one[name]:.1f}" for one in mean.values())]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines) + "\n"
