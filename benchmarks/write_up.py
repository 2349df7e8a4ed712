"""Turn result files into the tables of docs/benchmarks.md and docs/kernels.md.

Each table stands in a page between two comments, `<!-- table NAME -->` and `<!-- end -->`, and is
written anew from results/NAME.json. The two of results/kernels.json are `kernels-figures` and
`kernels-targets`. A table without results is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro
from kernel_tables import figures_table, targets_table
from protocol import ALONE, TEACHER

from xdistill.report import SCALARS, Interval, read_json

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PAGES = (DOCS / "benchmarks.md", DOCS / "kernels.md")
KERNELS = {"kernels-figures": figures_table, "kernels-targets": targets_table}
SLOT = re.compile(r"(<!-- table (?P<name>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table_of(name: str) -> str:
    """The table of a slot, from its results."""
    path = HERE / "results" / f"{'kernels' if name in KERNELS else name}.json"
    return KERNELS.get(name, markdown)(read_json(path)) if path.exists() else ""


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


if __name__ == "__main__":
    tyro.cli(main)
