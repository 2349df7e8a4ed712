"""README and docs: their Python runs, their links lead somewhere, their options exist."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from xdistill import registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Results and pictures come from runs of the benchmarks.
MADE_BY_BENCHMARKS = ("docs/benchmarks.md", "docs/images/")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
SCRIPT = re.compile(r"benchmarks/(\w+)\.py")
REGISTRIES = (
    registry.modalities,
    registry.encoders,
    registry.projectors,
    registry.losses,
    registry.datasets,
    registry.settings,
)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[int, str]]:
    """The page's Python blocks, each with the line on which it begins."""
    text = page.read_text()
    return [
        (text.count("\n", 0, block.start(2)), block[2])
        for block in FENCE.finditer(text)
        if block[1] == "python"
    ]


@pytest.fixture
def _names_of_a_page_stay_its_own(monkeypatch):
    for one in REGISTRIES:
        one.list()  # ours and the plugins' are loaded before the copy is made
        monkeypatch.setattr(one, "_entries", dict(one._entries))


@pytest.mark.usefixtures("_names_of_a_page_stay_its_own")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": f"page_{page.stem}"}
    for line, code in blocks(page):
        padded = "\n" * line + code  # a traceback names the line of the page
        exec(compile(padded, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_to_files(page):
    prose = FENCE.sub("", page.read_text())
    targets = [link.partition("#")[0] for link in LINK.findall(prose)]
    for target in targets:
        if not target or re.match(r"[a-z]+:", target):
            continue
        found = Path(os.path.normpath(page.parent / target))
        if not found.relative_to(ROOT).as_posix().startswith(MADE_BY_BENCHMARKS):
            assert found.exists(), f"{name(page)} links to {target}"


COMMAND = "-c", "import sys; from xdistill.cli import main; sys.exit(main())"
COMMANDS = frozenset({"diagnose", "prepare", "train", "stage", "inspect"})
NAMED = re.compile(r"xdistill (\w+)")


@cache
def options_of(*script: str) -> frozenset[str]:
    command = [sys.executable, *script, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return frozenset(OPTION.findall(done.stdout))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_that_a_page_names_exist(page):
    text = page.read_text()
    named = set(OPTION.findall(text))
    if named:
        scripts = {"s3ve", *SCRIPT.findall(text)}
        known = [options_of(f"benchmarks/{script}.py") for script in scripts]
        commands = {"losses", "export", *COMMANDS.intersection(NAMED.findall(text))}
        known += [options_of(*COMMAND, command) for command in commands]
        assert named <= frozenset().union(*known)
