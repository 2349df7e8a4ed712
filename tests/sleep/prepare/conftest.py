"""Simulated nights as files, small ones, and the command that prepares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.sleep.prepare.small_nights import SMALL, row_of, write_table
from xdistill.sleep.prepare.command import Options, run
from xdistill.sleep.simulated.night import NightFiles, write_simulated_night
from xdistill.sleep.simulated.options import NightOptions


@pytest.fixture(scope="session")
def three(tmp_path_factory) -> Path:
    """A table of three nights of three minutes, in three kinds of film."""
    folder = tmp_path_factory.mktemp("three")
    kinds = [{"film_late_s": 7.0}, {"film": "mkv", "variable_rate": True}, {"codec": "mpeg4"}]
    rows = [
        row_of(
            f"p{at}",
            write_simulated_night(folder, f"n{at}", NightOptions(sleeper=at, **SMALL, **kind)),
        )
        for at, kind in enumerate(kinds)
    ]
    return write_table(folder, rows)


@pytest.fixture(scope="session")
def prepared(three, tmp_path_factory) -> Path:
    """The three nights, prepared one after the other without interruption."""
    root = tmp_path_factory.mktemp("whole") / "out"
    assert run(Options(out=root, table=three)) == 0
    return root


@pytest.fixture
def simulate(tmp_path) -> Callable[..., NightFiles]:
    """Writes a small night with these options."""

    def write(name: str = "n", folder: Path = tmp_path / "raw", **options) -> NightFiles:
        return write_simulated_night(folder, name, NightOptions(**SMALL | options))

    return write


@pytest.fixture
def prepare(tmp_path, capsys) -> Callable[..., tuple[int, str]]:
    """Runs the command in this process on rows of a table; returns status and output."""

    def run_command(
        rows: Sequence[Mapping[str, object]], out: Path = tmp_path / "out", **options
    ) -> tuple[int, str]:
        status = run(Options(out=out, table=write_table(tmp_path, rows), **options))
        return status, capsys.readouterr().out

    return run_command
