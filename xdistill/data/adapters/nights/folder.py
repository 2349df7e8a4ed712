"""A prepared folder: which nights it holds, and the table of all their epochs."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from xdistill.data.adapters.nights.layout import (
    EPOCHS,
    FORMAT,
    LAYOUT,
    NIGHTS,
    SOURCE,
    night_folder,
)
from xdistill.storage.atomic import ENDING, replacing
from xdistill.storage.json_file import read_json, write_json

PREPARED = "prepared.json"


class NightStatus(NamedTuple):
    """How the preparation of a night ended.

    Attributes:
        subject: who slept.
        status: "done", or "failed".
        error: why it failed.
    """

    subject: str
    status: Literal["done", "failed"]
    error: str | None = None


class Prepared(NamedTuple):
    """What prepared.json says.

    Attributes:
        options: of the preparation.
        nights: by name.
    """

    options: Mapping[str, Any]
    nights: Mapping[str, NightStatus]

    @property
    def done(self) -> tuple[str, ...]:
        """Names of the nights that are complete."""
        return tuple(name for name, night in self.nights.items() if night.status == "done")


def read_prepared(root: str | Path) -> Prepared:
    """What was prepared into a folder.

    Raises:
        FileNotFoundError: the folder was not prepared.
        ValueError: prepared.json is damaged, was edited, or has another format.
    """
    path = Path(root) / PREPARED
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the layout is {LAYOUT}, distributed by {SOURCE}"
        )
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {content.get('format')!r}, expected {FORMAT}; prepare the nights "
            "again with this version"
        )
    try:
        nights = {name: NightStatus(**one) for name, one in content["nights"].items()}
        return Prepared(content["options"], nights)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not one that `xdistill prepare` wrote ({type(error).__name__}: {error}); "
            "prepare the nights again"
        ) from error


def write_prepared(
    root: str | Path, options: Mapping[str, Any], nights: Mapping[str, NightStatus]
) -> None:
    """Write prepared.json, as a whole.

    Raises:
        OSError: the file cannot be written; names it.
    """
    kept = {name: night._asdict() for name, night in nights.items()}
    write_json(Path(root) / PREPARED, {"format": FORMAT, "options": options, "nights": kept})


def list_nights(root: str | Path) -> tuple[str, ...]:
    """Names of the complete nights of a prepared folder; raises as `read_prepared`."""
    return read_prepared(root).done


def write_epochs(root: str | Path) -> Path:
    """Write the table of all complete nights' epochs: subject, night, and the columns of a night.

    Columns that some nights do not have are empty there.

    Raises:
        OSError: a night's table is missing, or the file cannot be written.
    """
    root = Path(root)
    prepared = read_prepared(root)
    rows: list[dict[str, str]] = []
    for name in prepared.done:
        own = {"subject": prepared.nights[name].subject, "night": name}
        with (night_folder(root, name) / EPOCHS).open(newline="") as file:
            rows += [{**own, **row} for row in csv.DictReader(file)]
    columns = dict.fromkeys(column for row in rows for column in row)
    with replacing(root / EPOCHS) as partial, partial.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return root / EPOCHS


def remove_abandoned(root: str | Path) -> None:
    """Remove what killed preparations left; only for who knows that none is at work."""
    for left in (Path(root) / NIGHTS).glob(f".*{ENDING}"):
        shutil.rmtree(left, ignore_errors=True)
