"""Lists in text files: the fields of each line, between commas or another delimiter."""

from __future__ import annotations

import csv
from pathlib import Path


def read_lines(path: Path, layout: str, source: str, delimiter: str = ",") -> list[list[str]]:
    """The fields of each line; empty lines are skipped.

    Args:
        path: the list.
        layout: of the data set, for the message about a missing list.
        source: where its owners distribute it, for the same message.
        delimiter: what separates the fields; a field may be in double quotes.

    Raises:
        FileNotFoundError: the list is missing; the message says where to get it.
        ValueError: it is no text, or empty.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the layout is {layout}, distributed at {source}"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file, delimiter=delimiter) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no text file of lines ({error}); copy it again") from error
    if not lines:
        raise ValueError(f"{path} is empty; copy it again")
    return lines
