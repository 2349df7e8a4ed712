"""A film and a run for all tests of staging."""

from __future__ import annotations

from pathlib import Path

import pytest
from sleep_runs import make_run, write_film


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "night one.mkv")


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "body")
