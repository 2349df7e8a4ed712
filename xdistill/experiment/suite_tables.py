"""Results of the suite as Markdown tables, in per cent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xdistill.experiment.methods import ALONE, BOUND, ROWS, TEACHER
from xdistill.experiment.search import Kind
from xdistill.experiment.summary import MEASURE
from xdistill.experiment.tables import difference
from xdistill.report import Interval, is_clear


def setting_table(results: Mapping[str, Any], name: str) -> str:
    """A row per method of a setting.

    For every case macro-F1, minus the student alone, and minus the best baseline. Teachers, the
    student with all labels and the student alone come first, then the best mean over the cases.
    """
    setting, cases = results["settings"][name], results["cases"]
    head = [""]
    for case in cases:
        baseline = setting["baseline"][case]
        named = "" if baseline is None else f" ({baseline})"
        head += [f"{case}: macro-F1", "minus student", f"minus best baseline{named}"]
    lines = _head(head)
    for modality, entries in setting["teachers"].items():
        cells = [cell for case in cases for cell in (_mean(entries.get(case)), "", "")]
        lines.append(_row(f"{TEACHER} ({modality})", cells))
    if setting["bound"] is not None:
        cells = [cell for _ in cases for cell in (_mean(setting["bound"]), "", "")]
        lines.append(_row(ROWS[BOUND], cells))
    for method in _methods(setting["methods"]):
        cells = []
        for case in cases:
            entry = setting["methods"][case].get(method, {})
            gaps = [entry.get(key, {}) for key in ("difference", "difference_to_baseline")]
            cells += [_mean(entry), *(difference(gap.get(MEASURE)) for gap in gaps)]
        lines.append(_row(method, cells))
    return _text(lines)


def _methods(by_case: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The student alone, and all others by their mean over the cases in which they finished."""
    values: dict[str, list[float]] = {}
    for entries in by_case.values():
        for method, entry in entries.items():
            values.setdefault(method, []).append(entry[MEASURE])
    rest = sorted(
        set(values) - {ALONE}, key=lambda one: (-sum(values[one]) / len(values[one]), one)
    )
    return [ALONE, *rest] if ALONE in values else rest


def ranks_table(results: Mapping[str, Any], case: str) -> str:
    """Average rank of each method in a case, and its rank in each setting.

    Between them, in how many settings it is clearly better or worse than the student alone, and
    than the best baseline.
    """
    ranks, counts = results["ranks"].get(case, {}), results["counts"].get(case, {})
    if "mean" not in ranks:
        return ""
    against = ("student", "best baseline")
    sides = [f"{side} than {other}" for other in against for side in ("better", "worse")]
    lines = _head(["", "average rank", *sides, *ranks["settings"]])
    for method in sorted(ranks["mean"], key=ranks["mean"].__getitem__):
        cells = [f"{ranks['mean'][method]:.1f}"]
        for key in ("difference", "difference_to_baseline"):
            count = counts[method][key]
            known = count["settings"] > 0
            cells += [str(count[side]) if known else "" for side in ("better", "worse")]
        lines.append(_row(method, [*cells, *(f"{rank:g}" for rank in ranks["each"][method])]))
    return _text(lines)


def room_table(results: Mapping[str, Any]) -> str:
    """How far dist stays below the student with all labels, by setting and case."""
    cases = results["cases"]
    lines = _head(["", ROWS[BOUND], *(f"minus dist, {case}" for case in cases)])
    for name, setting in results["settings"].items():
        cells = [difference(setting["room"].get(case)) for case in cases]
        lines.append(_row(name, [_mean(setting["bound"]), *cells]))
    return _text(lines)


def twice_table(results: Mapping[str, Any]) -> str:
    """Macro-F1, and what twice the epochs add to it, by setting and method; "" where not run."""
    settings = {name: one["twice"] for name, one in results["settings"].items() if one["twice"]}
    methods = list(dict.fromkeys(method for one in settings.values() for method in one))
    if not methods:
        return ""
    head = [cell for method in methods for cell in (ROWS.get(method, method), "twice minus once")]
    lines = _head(["", *head])
    for name, found in settings.items():
        entries = [found.get(method) for method in methods]
        cells = [
            cell
            for entry in entries
            for cell in ("" if entry is None else f"{100 * entry['once']:.1f}", difference(entry))
        ]
        lines.append(_row(name, cells))
    return _text(lines)


def curves_table(results: Mapping[str, Any], case: str, kind: Kind) -> str:
    """Macro-F1 of each method along a curve, a block of rows for each setting; "" where not run.

    Bold where it is clearly better or worse than the student alone, with + or − where it clearly is
    than the best baseline.
    """
    curves = {name: cases.get(case, {}).get(kind, {}) for name, cases in results["curves"].items()}
    points = [at for methods in curves.values() for one in methods.values() for at in one]
    places = sorted(set(map(float, points)))
    if not places:
        return ""
    unit = "{:g}" if kind == "subjects" else "{:g} %"
    scale = 1 if kind == "subjects" else 100
    lines = _head(["", "", *(unit.format(scale * at) for at in places)])
    for name, methods in curves.items():
        for method, found in methods.items():
            cells = [_point(found.get(f"{at:g}")) for at in places]
            lines.append(_row(name, [method, *cells]))
    return _text(lines)


def _point(point: Mapping[str, Any] | None) -> str:
    if point is None:
        return ""
    text = str(Interval(point["mean"], point["half_width"]))
    text = f"**{text}**" if _sign(point.get("difference")) else text
    return " ".join(filter(None, (text, _sign(point.get("difference_to_baseline")))))


def _sign(gap: Mapping[str, Any] | None) -> str:
    """+ or − where the interval of a difference leaves zero out."""
    if gap is None or not is_clear(gap):
        return ""
    return "+" if gap["mean"] > 0 else "−"


def _mean(entry: Mapping[str, Any] | None) -> str:
    if not entry:
        return ""
    return str(Interval(entry[MEASURE], entry["confidence_95"][MEASURE]))


def _head(cells: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([name, *cells])} |"


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
