"""Tables of small simulated nights, and the command as a process."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from xdistill.sleep.simulated.night import NightFiles

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
