"""A table as spreadsheets save it: its encoding, what separates its cells, and its rows."""

from __future__ import annotations

import csv
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

SEPARATORS = (",", ";", "\t")
EXCEL_HINT = "sep="
"""Excel may write a first line with the separator."""
MARKS_OF_ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
FALLBACK = "cp1252"
"""What Windows in western Europe and America writes where it does not write UTF-8."""


class Sheet(NamedTuple):
    """Rows of texts.

    Attributes:
        columns: names, in lower case.
        rows: line in the file, from 1, and the texts by column.
        notes: what was guessed.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    notes: tuple[str, ...]


def read_sheet(path: Path) -> Sheet:
    """Read a table whose first line has the names of its columns; empty rows are skipped.

    Blanks around a cell do not count, and letters with accents are one letter.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: it is no text, is empty, or a row has more cells than there are columns.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {path}; expected a CSV file with a row a night")
    text, notes = _text(path)
    lines = re.split("\r\n|\r|\n", text)
    first = 0
    separator = None
    if lines and lines[0].lower().startswith(EXCEL_HINT):
        separator, first = lines[0][len(EXCEL_HINT) :] or "\t", 1
    header = lines[first] if len(lines) > first else ""
    separator = separator or max(SEPARATORS, key=header.count)
    if len(separator) != 1:
        raise ValueError(f"{path} begins with {lines[0]!r}, expected one character after 'sep='")
    try:
        reader = csv.reader(lines[first:], delimiter=separator, strict=True, skipinitialspace=True)
        read = [(first + reader.line_num, list(map(_clean, cells))) for cells in reader]
    except csv.Error as error:
        raise ValueError(f"{path} is no table ({error}); save it as CSV again") from error
    read = [(line, cells) for line, cells in read if any(cells)]
    if len(read) < 2:
        raise ValueError(f"{path} has no night; expected names of columns, then a row a night")
    columns = tuple(name.lower() for name in read[0][1])
    return Sheet(columns, tuple(_row(path, separator, columns, *one) for one in read[1:]), notes)


def _row(
    path: Path, separator: str, columns: tuple[str, ...], line: int, cells: list[str]
) -> tuple[int, dict[str, str]]:
    extra = [cell for cell in cells[len(columns) :] if cell]
    unnamed = [cell for name, cell in zip(columns, cells, strict=False) if cell and not name]
    if extra or unnamed or len(cells) < len(columns):
        raise ValueError(
            f"{path} has {len(cells)} cells in line {line}, expected {len(columns)}: "
            f"{', '.join(columns)}; a cell with {separator!r} in it must be in double quotes"
        )
    return line, {name: cell for name, cell in zip(columns, cells, strict=False) if name}


def _text(path: Path) -> tuple[str, tuple[str, ...]]:
    raw = path.read_bytes()
    marked = next((name for mark, name in MARKS_OF_ENCODINGS.items() if raw.startswith(mark)), None)
    try:
        text, notes = raw.decode(marked or "utf-8"), ()
    except UnicodeDecodeError as error:
        try:
            if marked:
                raise
            text = raw.decode(FALLBACK)
        except UnicodeDecodeError:
            raise ValueError(f"{path} is no text ({error}); save it as CSV in UTF-8") from error
        notes = (
            f"{path} is not in UTF-8 and was read as Windows-1252; if names look wrong, save it as "
            "UTF-8",
        )
    if "\0" in text:
        raise ValueError(f"{path} is no text; save the table as CSV in UTF-8, not as a workbook")
    return text, notes


def _clean(cell: str) -> str:
    return unicodedata.normalize("NFC", cell).strip().strip("\u00a0")
