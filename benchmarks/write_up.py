"""Turn result files into the tables of docs/benchmarks.md, docs/suite.md and docs/kernels.md.

Each table stands in a page between two comments, `<!-- table NAME -->` and `<!-- end -->`, and is
written anew from results/NAME.json. The two of results/kernels.json are `kernels-figures` and
`kernels-targets`, those of results/suite.json `suite-SETTING`, `suite-ranks`, `suite-labels` and
`suite-missing`; its two figures are drawn, too. A table without results is empty.
"""

from __future__ import annotations

import re
from pathlib import Path

import tyro
from kernel_costs.tables import figures_table, targets_table

from xdistill.experiment import tables
from xdistill.report import read_json

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PAGES = (DOCS / "benchmarks.md", DOCS / "suite.md", DOCS / "kernels.md")
SUITE = HERE / "results" / "suite.json"
KERNELS = {"kernels-figures": figures_table, "kernels-targets": targets_table}
TABLES = {
    **KERNELS,
    "sacd_parts": tables.parts_table,
    "sacd_combinations": tables.combinations_table,
}
PREFIX = "suite-"
SLOT = re.compile(r"(<!-- table (?P<name>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table_of(name: str) -> str:
    """The table of a slot, from its results."""
    if name.startswith(PREFIX):
        return _suite_table(name.removeprefix(PREFIX)) if SUITE.exists() else ""
    path = HERE / "results" / f"{'kernels' if name in KERNELS else name}.json"
    return TABLES.get(name, tables.benchmark_table)(read_json(path)) if path.exists() else ""


def _suite_table(name: str) -> str:
    results = read_json(SUITE)
    if name == "ranks":
        return tables.ranks_table(results)
    if name in ("labels", "missing"):
        return tables.curves_table(results, name)
    return tables.setting_table(results, name) if name in results["settings"] else ""


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


def main() -> None:
    """Write every table of the pages."""
    for page in PAGES:
        page.write_text(SLOT.sub(lambda m: m[1] + table_of(m["name"]) + m[3], page.read_text()))
    if SUITE.exists():
        draw_suite()


if __name__ == "__main__":
    tyro.cli(main)
