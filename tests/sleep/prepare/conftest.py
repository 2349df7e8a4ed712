"""Simulated nights as files, small ones, and the command that prepares them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from xdistill.sleep.prepare.command import Options, run
from xdistill.sleep.simulated.night import NightFiles, write_simulated_night
from xdistill.sleep.simulated.options import NightOptions

EPOCHS = 6
SMALL = {"hours": EPOCHS * 30 / 3600, "width": 64, "height": 48, "eeg_hz": 128, "condensed": True}


def write_table(
    folder: Path, rows: Sequence[Mapping[str, object]], name: str = "nights.csv"
) -> Path:
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        columns = dict.fromkeys(column for row in rows for column in row)
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        table.writerows(rows)
    return path


def row_of(subject: str, files: NightFiles, **more: object) -> dict[str, object]:
    row = {"subject": subject, "eeg": files.eeg, "video": files.film, "hypnogram": files.hypnogram}
    return {key: "" if one is None else one for key, one in (row | more).items()}


def tree(root: Path) -> dict[str, str]:
    """Every file below a folder with its content's checksum."""
    return {
        str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def command(*arguments: object) -> subprocess.Popen[str]:
    """`xdistill prepare` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "xdistill", "prepare", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


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
