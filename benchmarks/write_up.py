"""Turn result files into the tables of the pages of docs.

Each table stands in a page between two comments, `<!-- table NAME -->` and `<!-- end -->`, and is
written anew from results/NAME.json. The two of results/kernels.json are `kernels-figures` and
`kernels-targets`. Those of results/suite.json are `suite-SETTING`, `suite-room`, `suite-twice`,
`suite-missing` and, for each case of the suite, `suite-ranks-CASE`, `suite-labels-CASE` and
`suite-subjects-CASE`; its figures are drawn, too. A table without results is empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tyro
from diagnosis_gains.table import diagnose_table
from kernel_costs.tables import figures_table, targets_table
from night_costs.table import night_table
from night_students.table import nights_table

from xdistill.experiment import suite_tables, tables
from xdistill.experiment.search import Kind
from xdistill.report import read_json

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PAGE_NAMES = ("benchmarks", "suite", "sacd", "kernels", "sleep", "diagnose")
PAGES = tuple(DOCS / f"{page}.md" for page in PAGE_NAMES)
SUITE = HERE / "results" / "suite.json"
KERNELS = {"kernels-figures": figures_table, "kernels-targets": targets_table}
TABLES = {
    **KERNELS,
    "diagnose": diagnose_table,
    "night": night_table,
    "nights": nights_table,
    "sacd_parts": tables.parts_table,
    "sacd_combinations": tables.combinations_table,
    "sacd_targets": tables.conditions_table,
}
PREFIX = "suite-"
SLOT = re.compile(r"(<!-- table (?P<name>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _read(path: Path) -> dict[str, Any]:
    """Results that may have been written before files had a checksum."""
    return read_json(path, checked=False)


def table_of(name: str) -> str:
    """The table of a slot, from its results."""
    if name.startswith(PREFIX):
        return _suite_table(_read(SUITE), name.removeprefix(PREFIX)) if SUITE.exists() else ""
    path = HERE / "results" / f"{'kernels' if name in KERNELS else name}.json"
    return TABLES.get(name, tables.benchmark_table)(_read(path)) if path.exists() else ""


def _suite_table(results: Mapping[str, Any], name: str) -> str:
    if name in results["settings"]:
        return suite_tables.setting_table(results, name)
    if name in WHOLE:
        return WHOLE[name](results)
    kind, _, case = name.partition("-")
    if kind == "ranks":
        return suite_tables.ranks_table(results, case)
    if kind in ALONG:
        return suite_tables.curves_table(results, case, ALONG[kind])
    return ""


def _missing_table(results: Mapping[str, Any]) -> str:
    """The curves over missing teachers, which were run in one case."""
    found = (suite_tables.curves_table(results, case, "missing") for case in results["cases"])
    return next(filter(None, found), "")


WHOLE: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "room": suite_tables.room_table,
    "targets": suite_tables.targets_table,
    "twice": suite_tables.twice_table,
    "missing": _missing_table,
}
ALONG: Mapping[str, Kind] = {"labels": "rows", "subjects": "subjects"}


def draw_suite() -> None:
    """For each case the critical-difference figure, and the curves."""
    from xdistill import plotting

    results = _read(SUITE)
    for case in results["cases"]:
        ranks = results["ranks"][case]
        if "mean" in ranks:
            path = DOCS / "images" / f"suite_ranks-{case}.png"
            plotting.critical_difference(path, ranks["mean"], ranks["critical_difference"])
        curves = {
            name: {"labels": cases[case]["rows"], "missing": cases[case].get("missing", {})}
            for name, cases in results["curves"].items()
            if "rows" in cases.get(case, {})
        }
        if curves:
            plotting.share_curves(DOCS / "images" / f"suite_curves-{case}.png", curves)


def written(slot: re.Match[str]) -> str:
    """A slot with its table."""
    return slot[1] + table_of(slot["name"]) + slot[3]


def main() -> None:
    """Write every table of the pages."""
    for page in PAGES:
        page.write_text(SLOT.sub(written, page.read_text()))
    if SUITE.exists():
        draw_suite()


if __name__ == "__main__":
    tyro.cli(main)
