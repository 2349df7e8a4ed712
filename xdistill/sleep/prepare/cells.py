"""What the cells of one night mean: its files, numbers and channels."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from xdistill.sleep.video_options import VideoOptions

YASA = "yasa"
"""In place of a hypnogram's name: YASA stages the night."""
CHANNEL_COLUMNS = ("eeg_channel", "eog_channel", "emg_channel", "resp_channel")
BETWEEN_CHANNELS = "|"
LARGEST_OFFSET_S = 86400.0


class Cells(NamedTuple):
    """One row's texts, and where its mistakes are collected.

    Attributes:
        fields: texts by column.
        where: the row, for messages; empty for the command line.
        problems: what was found wrong so far, of all rows.
    """

    fields: Mapping[str, str]
    where: str
    problems: list[str]

    def get(self, column: str) -> str:
        """The text of a cell; empty where there is none."""
        return self.fields.get(column, "")

    def wrong(self, what: str) -> None:
        """Collect a mistake."""
        self.problems.append(f"{self.where}: {what}" if self.where else f"the night {what}")


def night_file(cells: Cells, column: str, folder: Path) -> Path | None:
    """The file that a cell names, relative to the folder; None for an empty cell."""
    text = cells.get(column)
    if not text:
        return None
    if "\0" in text:
        cells.wrong(f"has a zero byte in {column}")
        return None
    path = _as_spelled(folder / Path(text).expanduser())
    problem = _unusable(path)
    if problem:
        cells.problems.append(": ".join(filter(None, (cells.where, f"{problem}, its {column}"))))
    return path


def _as_spelled(path: Path) -> Path:
    """The file as its disk spells it: ä may be one letter there and two in the table."""
    forms = (unicodedata.normalize(form, str(path)) for form in ("NFC", "NFD"))
    return next((one for one in (path, *map(Path, forms)) if one.exists()), path)


def _unusable(path: Path) -> str | None:
    if not path.exists():
        return f"missing {path}"
    if not path.is_file():
        return f"{path} is no file"
    if not path.stat().st_size:
        return f"{path} is empty, copy it again"
    if not os.access(path, os.R_OK):
        return f"{path} may not be read, its permissions forbid it"
    return None


def offset_of(cells: Cells) -> float | None:
    """The seconds of ``video_offset_s``; a comma may stand for the decimal point."""
    text = cells.get("video_offset_s")
    if not text:
        return None
    try:
        value = float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST_OFFSET_S:
        cells.wrong(
            f"has video_offset_s {text!r}, expected the seconds from the recording's start to the "
            "film's, at most a day; leave it empty to take the start times of both"
        )
        return None
    return value


def region_of(cells: Cells) -> tuple[float, float, float, float] | None:
    """The four shares of ``region``, between blanks or commas."""
    text = cells.get("region")
    if not text:
        return None
    try:
        left, top, right, bottom = map(float, re.split(r"[\s,;]+", text.strip("()[] ")))
        return VideoOptions(region=(left, top, right, bottom)).region
    except ValueError:
        cells.wrong(
            f"has region {text!r}, expected left, top, right and bottom of the bed as shares of "
            "the picture, as in '0.1 0.2 0.9 0.8'"
        )
        return None


def channels_of(cells: Cells) -> dict[str, tuple[str, ...]]:
    """Names of channels by kind of signal, several between ``|``."""
    found = {}
    for column in CHANNEL_COLUMNS:
        if text := cells.get(column):
            names = tuple(one.strip() for one in text.split(BETWEEN_CHANNELS))
            if not all(names) or len(set(names)) < len(names):
                cells.wrong(f"has {column} {text!r}, expected names, each once, between '|'")
            found[column.removesuffix("_channel")] = names
    return found
