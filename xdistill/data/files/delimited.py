"""Lists in text files: the fields of each line, between commas or another delimiter."""

from __future__ import annotations

import csv
from collections.abc import Sequence
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
            lines = [line for line in csv.reader(file, delimiter=delimiter, strict=True) if line]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no text in UTF-8 ({error}); save it as UTF-8, or copy it again"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path} is no list of lines ({error}); copy it again") from error
    if not lines:
        raise ValueError(f"{path} is empty, expected a line for each row; copy it again")
    return lines


def read_table(
    path: Path, columns: Sequence[str], layout: str, source: str
) -> list[dict[str, str]]:
    """The rows of a csv file whose first line has the names of its columns.

    Args:
        path: the table.
        columns: those that it must have.
        layout: as in `read_lines`.
        source: as in `read_lines`.

    Raises:
        FileNotFoundError: the table is missing.
        ValueError: it is no text, has no rows, lacks a column or has one twice, or a row has
            another number of fields.
    """
    names, *lines = read_lines(path, layout, source)
    names = [name.strip() for name in names]
    missing = [name for name in columns if name not in names]
    if missing or len(set(names)) < len(names):
        raise ValueError(
            f"{path} has the columns {names}, it lacks {missing}; expected {', '.join(columns)}, "
            "each once"
        )
    if not lines:
        raise ValueError(f"{path} has the names of its columns and no row; copy it again")
    for at, line in enumerate(lines, start=2):
        if len(line) != len(names):
            raise ValueError(
                f"{path} has {len(line)} fields in its line {at} ({','.join(line)[:80]!r}), "
                f"expected {len(names)}"
            )
    return [dict(zip(names, line, strict=True)) for line in lines]
