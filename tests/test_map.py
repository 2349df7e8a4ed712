"""CONTRIBUTING and the page on the architecture: what they name is in the tree."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("CONTRIBUTING.md", "docs/architecture.md")

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
PATH = re.compile(r"`(\.?[\w-]+(?:/\.?[\w.-]+)+|[A-Za-z][\w.-]*\.(?:md|py|toml|txt|cff))`")
LINK = re.compile(r"\]\((?!https?:|#)([^)\s#]+)")


def named_paths(page: str) -> set[str]:
    """The paths in backticks outside code blocks, NAME standing for any name."""
    return set(PATH.findall(FENCE.sub("", (ROOT / page).read_text())))


@pytest.mark.parametrize(
    "page, path", [(page, path) for page in PAGES for path in sorted(named_paths(page))]
)
def test_a_named_path_exists(page, path):
    assert any(ROOT.glob(path.replace("NAME", "*"))), f"{page} names {path}"


def test_paths_are_found():
    text = "`a/b.py`, `xdistill/losses/NAME.py`, `.ci/run`, `pyproject.toml`, `x.y` and `a | b`"
    assert PATH.findall(text) == ["a/b.py", "xdistill/losses/NAME.py", ".ci/run", "pyproject.toml"]
    assert all(len(named_paths(page)) > 20 for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    targets = LINK.findall(FENCE.sub("", (ROOT / page).read_text()))
    assert targets
    for target in targets:
        assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"


def layers_of_the_page() -> dict[str, int]:
    """Each module of the figure with the line on which it stands."""
    after = (ROOT / "docs/architecture.md").read_text().partition("## Layers")[2]
    figure = FENCE.search(after)
    assert figure is not None
    lines = figure[2].splitlines()
    return {name: row for row, line in enumerate(lines) for name in line.split(" | ")}


def test_the_layers_are_those_of_the_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contract = next(one for one in settings["contracts"] if one["name"].startswith("layers"))
    rows = [re.findall(r"xdistill\.(\w+)", line) for line in contract["layers"]]
    checked = {name: row for row, names in enumerate(rows) for name in names}
    drawn = layers_of_the_page()
    assert checked.keys() <= drawn.keys()
    for above in checked:
        for below in checked:
            assert (checked[above] < checked[below]) == (drawn[above] < drawn[below])


def test_the_page_draws_every_module_of_the_package():
    inside = {
        path.stem for path in (ROOT / "xdistill").iterdir() if not path.name.startswith(("_", "py"))
    }
    assert inside <= layers_of_the_page().keys()
