"""The rows of results/kernels.json as tables and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kernel_costs.contestants import COMPILED, INF_CL, OPEN_CLIP, OPS, PLAIN, PML
from kernel_costs.targets import Row

COLOURS = {
    PLAIN: "tab:red",
    COMPILED: "tab:orange",
    "reference": "tab:pink",
    "tiled": "tab:blue",
    "triton": "tab:cyan",
    PML: "tab:green",
    OPEN_CLIP: "tab:olive",
    INF_CL: "tab:brown",
}


HEAD = (
    f"{'op':<16}{'impl':<25}{'N':>10}{'M':>10}{'ms':>12}{'extra MB':>10}"
    f"{'GFLOP/s':>10}{'of matmul':>11}"
)


def line(row: Row) -> str:
    """A row for the terminal, below HEAD."""
    seconds = None if row.seconds is None else 1e3 * row.seconds
    cells = f"{row.op:<16}{row.impl:<25}{row.rows:>10}{row.keys:>10}"
    cells += f"{_number(seconds):>12}{_number(row.extra_mb):>10}{_number(row.gflops):>10}"
    return f"{cells}{_number(row.share_of_matmul, 2):>11}  {row.note}".rstrip()


def targets_text(targets: Sequence[Mapping[str, Any]], device: str) -> str:
    """The targets for the terminal."""
    lines = [f"targets on {device}"]
    for one in targets:
        sign = "≤" if one["at_most"] else "≥"
        limit = f"{sign} {one['limit']:.4g} {one['unit']}"
        lines.append(f"{_verdict(one):<13}{one['what']:<62}{_plain(one['measured']):>9}  {limit}")
    return "\n".join(lines)


def targets_table(results: Mapping[str, Any]) -> str:
    """The targets for the page."""
    lines = ["| target | measured | to reach | |", "|---|---|---|---|"]
    for one in results["targets"]:
        sign = "≤" if one["at_most"] else "≥"
        limit = f"{sign} {one['limit']:.4g} {one['unit']}"
        lines.append(f"| {one['what']} | {_plain(one['measured'])} | {limit} | {_verdict(one)} |")
    return "\n".join(lines) + "\n"


def figures_table(results: Mapping[str, Any]) -> str:
    """The largest size of the plain loss of each op, and the sizes beyond it, for the page."""
    rows = [Row(**one) for one in results["rows"]]
    lines = [
        "| | | N × M | ms | time / plain | extra MB | MB / plain | share of the matmul rate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for op in OPS:
        here = [row for row in rows if row.op == op]
        largest = max((row.keys for row in here if row.impl == PLAIN), default=0)
        plain = next((row for row in here if row.impl == PLAIN and row.keys == largest), None)
        for row in here:
            if row.keys >= largest:
                lines.append(_cells(row, plain))
    return "\n".join(lines) + "\n"


def _cells(row: Row, plain: Row | None) -> str:
    where = f"| `{row.op}` | {row.impl} | {row.rows:,} × {row.keys:,} |"
    if row.note:
        return f"{where} {row.note} | | | | |"
    time = memory = None
    if plain is not None and row.keys == plain.keys and plain.seconds and plain.extra_mb:
        time = None if row.seconds is None else row.seconds / plain.seconds
        memory = None if row.extra_mb is None else row.extra_mb / plain.extra_mb
    seconds = None if row.seconds is None else 1e3 * row.seconds
    cells = [
        _number(seconds, 0),
        _number(time, 2),
        _number(row.extra_mb, 0),
        _number(memory, 3),
        _number(row.share_of_matmul, 2),
    ]
    return f"{where} {' | '.join(cells)} |"


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Time and memory over the number of keys, logarithmic, a column for each op."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    rows = [Row(**one) for one in results["rows"]]
    ops = [op for op in OPS if any(row.op == op for row in rows)]
    figure, panels = pyplot.subplots(
        2, len(ops), figsize=(2.7 * len(ops) + 1, 6.5), sharex="col", squeeze=False
    )
    titles = {"seconds": "time of a step, s", "extra_mb": "extra memory, MB"}
    drawn = {}
    for column, op in enumerate(ops):
        panels[0][column].set_title(op)
        panels[1][column].set_xlabel("bank keys" if op == "khn" else "rows and keys, N = M")
        for panel, name in zip(panels[:, column], titles, strict=True):
            for impl, colour in COLOURS.items():
                points = [
                    (row.keys, max(getattr(row, name), 1e-4))
                    for row in rows
                    if (row.op, row.impl) == (op, impl) and getattr(row, name) is not None
                ]
                if points:
                    (curve,) = panel.plot(*zip(*points, strict=True), "o-", ms=4, color=colour)
                    drawn[impl] = curve
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.grid(alpha=0.3)
    for panel, title in zip(panels[:, 0], titles.values(), strict=True):
        panel.set_ylabel(title)
    config = results["config"]
    figure.suptitle(
        f"forward and backward, D = {config['dim']}, {config['dtype']}, {results['device']}"
    )
    figure.legend(drawn.values(), drawn.keys(), loc="lower center", ncols=len(drawn))
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _verdict(target: Mapping[str, Any]) -> str:
    return {None: "not measured", True: "met", False: "missed"}[target["met"]]


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
