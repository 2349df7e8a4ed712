"""Results of a benchmark and of the suite as Markdown tables, in per cent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xdistill.experiment.methods import ALONE, TEACHER
from xdistill.experiment.summary import MEASURE, difference
from xdistill.report import SCALARS, Interval


def benchmark_table(results: Mapping[str, Any]) -> str:
    """A row per method of a results.json, best accuracy first below teacher and student."""
    methods = [name for name, one in results.items() if is_entry(one)]
    rest = [name for name in methods if name not in (TEACHER, ALONE)]
    rest.sort(key=lambda name: -results[name]["accuracy"])
    lines = [
        "| | accuracy | macro-F1 | κ | accuracy minus student alone |",
        "|---|---|---|---|---|",
        *(_benchmark_row(name, results[name]) for name in (TEACHER, ALONE, *rest)),
    ]
    return "\n".join(lines) + "\n"


def is_entry(one: Any) -> bool:
    """Whether a value of results.json is the entry of a network."""
    return isinstance(one, dict) and "accuracy" in one


def _benchmark_row(name: str, entry: Mapping[str, Any]) -> str:
    half = entry["confidence_95"]
    cells = [str(Interval(entry[one], half[one])) for one in SCALARS]
    gap = ""
    if "difference_to_student" in entry:
        one = entry["difference_to_student"]["accuracy"]
        gap = f"{100 * one['mean']:+.1f}"
        if one["half_width"] is not None:
            gap += f" ± {100 * one['half_width']:.1f}"
        gap = f"**{gap}**" if _is_clear(one) else gap
    return f"| {' | '.join([name, *cells, gap])} |"


def setting_table(results: Mapping[str, Any], name: str) -> str:
    """A row per method of a setting, best macro-F1 first below teachers and student."""
    setting = results["settings"][name]
    lines = [
        "| | macro-F1 | accuracy | macro-F1 minus student alone | strength | s a run |",
        "|---|---|---|---|---|---|",
    ]
    for modality, one in setting["teachers"].items():
        lines.append(f"| teacher ({modality}) | {_cells(one)} | | | {one['seconds']:.0f} |")
    methods = setting["methods"]
    rest = sorted(set(methods) - {ALONE}, key=lambda method: -methods[method][MEASURE])
    for method in (ALONE, *rest):
        one = methods[method]
        strengths = "" if method == ALONE else ", ".join(f"{x:.2g}" for x in _distinct(one))
        gap = _bold(one)
        lines.append(f"| {method} | {_cells(one)} | {gap} | {strengths} | {one['seconds']:.0f} |")
    return "\n".join(lines) + "\n"


def ranks_table(results: Mapping[str, Any]) -> str:
    """Average rank, rank on every setting, and how often a method beat the student alone."""
    ranks = results["ranks"]
    if "mean" not in ranks:
        return ""
    settings = ranks["settings"]
    head = ["", "average rank", "better", "worse", *settings]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method in sorted(ranks["mean"], key=ranks["mean"].__getitem__):
        wins, losses = _wins(results, method)
        each = [f"{rank:g}" for rank in ranks["each"][method]]
        counts = ["", ""] if method == ALONE else [str(wins), str(losses)]
        cells = [method, f"{ranks['mean'][method]:.1f}", *counts, *each]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def curves_table(results: Mapping[str, Any], kind: str) -> str:
    """Macro-F1 of each method at each share, a block of rows for each setting."""
    lines: list[str] = []
    for name, kinds in results["curves"].items():
        methods = kinds.get(kind, {})
        shares = sorted({float(one) for points in methods.values() for one in points})
        if not lines:
            head = ["", "", *(f"{100 * share:g} %" for share in shares)]
            lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for method, points in methods.items():
            cells = [_point(points.get(f"{share:g}")) for share in shares]
            lines.append(f"| {name} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


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


def _distinct(entry: Mapping[str, Any]) -> list[float]:
    return sorted({round(one, 3) for one in entry["strength"]})


def _cells(entry: Mapping[str, Any]) -> str:
    half = entry["confidence_95"]
    return " | ".join(str(Interval(entry[one], half[one])) for one in (MEASURE, "accuracy"))


def _bold(entry: Mapping[str, Any]) -> str:
    text = difference(entry)
    if "difference" not in entry:
        return text
    return f"**{text}**" if _is_clear(entry["difference"][MEASURE]) else text


def _wins(results: Mapping[str, Any], method: str) -> tuple[int, int]:
    """On how many settings the interval of the difference lies above, and below, zero."""
    found = [one["methods"].get(method, {}) for one in results["settings"].values()]
    gaps = [one["difference"][MEASURE] for one in found if "difference" in one]
    clear = [gap for gap in gaps if _is_clear(gap)]
    return sum(gap["mean"] > 0 for gap in clear), sum(gap["mean"] < 0 for gap in clear)


def _point(point: Mapping[str, Any] | None) -> str:
    """Bold where the interval of the difference to the student alone leaves zero out."""
    if point is None:
        return ""
    text = str(Interval(point["mean"], point["half_width"]))
    clear = "difference" in point and _is_clear(point["difference"])
    return f"**{text}**" if clear else text


def _is_clear(gap: Mapping[str, Any]) -> bool:
    """Whether the interval of a difference leaves zero out; that of a single seed never does."""
    return gap["half_width"] is not None and abs(gap["mean"]) > gap["half_width"]
