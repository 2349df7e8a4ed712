"""Turn result files into the tables of docs/benchmarks.md, docs/suite.md and docs/kernels.md.

Each table stands in a page between two comments, `<!-- table NAME -->` and `<!-- end -->`, and is
written anew from results/NAME.json. The two of results/kernels.json are `kernels-figures` and
`kernels-targets`, those of results/suite.json `suite-SETTING`, `suite-ranks`, `suite-labels` and
`suite-missing`; its two figures are drawn, too. A table without results is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import suite_tables
import tyro
from kernel_costs.tables import figures_table, targets_table
from protocol import ALONE, TEACHER

from xdistill.report import SCALARS, Interval, read_json

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PAGES = (DOCS / "benchmarks.md", DOCS / "suite.md", DOCS / "kernels.md")
SUITE = HERE / "results" / "suite.json"
KERNELS = {"kernels-figures": figures_table, "kernels-targets": targets_table}
TABLES = {
    **KERNELS,
    "sacd_parts": suite_tables.parts_table,
    "sacd_combinations": suite_tables.combinations_table,
}
SLOT = re.compile(r"(<!-- table (?P<name>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table_of(name: str) -> str:
    """The table of a slot, from its results."""
    if name.startswith(suite_tables.PREFIX):
        return _suite_table(name.removeprefix(suite_tables.PREFIX)) if SUITE.exists() else ""
    path = HERE / "results" / f"{'kernels' if name in KERNELS else name}.json"
    return TABLES.get(name, markdown)(read_json(path)) if path.exists() else ""


def _suite_table(name: str) -> str:
    results = read_json(SUITE)
    if name == "ranks":
        return suite_tables.ranks_table(results)
    if name in ("labels", "missing"):
        return suite_tables.curves_table(results, name)
    return suite_tables.setting_table(results, name) if name in results["settings"] else ""


def draw_suite() -> None:
    """The critical-difference figure, and the curves."""
    from xdistill import plotting

    results = read_json(SUITE)
    ranks = results["ranks"]
    if "mean" in ranks:
        plotting.critical_difference(
            DOCS / "images" / "suite_ranks.png", ranks["mean"], ranks["critical_difference"]
        )
    if results["curves"]:
        plotting.share_curves(DOCS / "images" / "suite_curves.png", results["curves"])


def markdown(results: Mapping[str, Any]) -> str:
    """A row per method, best accuracy first below teacher and student."""
    methods = [name for name, one in results.items() if is_entry(one)]
    rest = [name for name in methods if name not in (TEACHER, ALONE)]
    rest.sort(key=lambda name: -results[name]["accuracy"])
    lines = [
        "| | accuracy | macro-F1 | κ | accuracy minus student alone |",
        "|---|---|---|---|---|",
        *(row(name, results[name]) for name in (TEACHER, ALONE, *rest)),
    ]
    return "\n".join(lines) + "\n"


def is_entry(one: Any) -> bool:
    """Whether a value of results.json is the entry of a network."""
    return isinstance(one, dict) and "accuracy" in one


def row(name: str, entry: Mapping[str, Any]) -> str:
    """One line of the table, in per cent."""
    half = entry["confidence_95"]
    cells = [str(Interval(entry[one], half[one])) for one in SCALARS]
    cells.append("")
    if "difference_to_student" in entry:
        cells[-1] = f"{difference(entry)}"
    return f"| {name} | {' | '.join(cells)} |"


def difference(entry: Mapping[str, Any]) -> str:
    """The paired difference with its sign; bold where its interval leaves zero out."""
    one = entry["difference_to_student"]["accuracy"]
    if one["half_width"] is None:
        return f"{100 * one['mean']:+.1f}"
    text = f"{100 * one['mean']:+.1f} ± {100 * one['half_width']:.1f}"
    return f"**{text}**" if abs(one["mean"]) > one["half_width"] else text


def main() -> None:
    """Write every table of the pages."""
    for page in PAGES:
        page.write_text(SLOT.sub(lambda m: m[1] + table_of(m["name"]) + m[3], page.read_text()))
    if SUITE.exists():
        draw_suite()


if __name__ == "__main__":
    tyro.cli(main)
