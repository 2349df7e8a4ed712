"""One version: that of the package."""

import re
from pathlib import Path

import xdistill as xd

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version():
    found = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert found == [xd.__version__]


def test_the_changelog_has_this_version():
    heading = rf"^## {re.escape(xd.__version__)}\b"
    assert re.search(heading, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
