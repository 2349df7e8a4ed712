"""The table of nights: which files belong together, checked as a whole before any work starts."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from xdistill.sleep.prepare.cells import (
    CHANNEL_COLUMNS,
    YASA,
    Cells,
    channels_of,
    night_file,
    offset_of,
    region_of,
)
from xdistill.sleep.prepare.fingerprint import fingerprint
from xdistill.sleep.prepare.sheet import Sheet, read_sheet
from xdistill.storage.names import plain_name

COLUMNS = (
    "subject",
    "night",
    "eeg",
    "video",
    "hypnogram",
    "video_offset_s",
    "region",
    *CHANNEL_COLUMNS,
)
FILES = ("eeg", "video", "hypnogram")
IGNORED = "#"
"""A column whose name begins with it is the laboratory's own, and not read."""
SHOWN = 30
"""Mistakes that a message lists; it counts the others."""


class NightRow(NamedTuple):
    """One night of the table.

    Attributes:
        name: of the night, and of its folder; unlike all others.
        subject: who slept.
        eeg: the recording.
        video: the film; one of the two may be missing.
        hypnogram: the scorer's; None where there is none.
        yasa: whether YASA is to stage the night instead of a scorer.
        video_offset_s: how long after the recording the film begins; None to take the start times
            of both.
        region: of the bed in the picture, as in `VideoOptions`; None for that of the options.
        channels: names by kind of signal, where the row has its own.
    """

    name: str
    subject: str
    eeg: Path | None = None
    video: Path | None = None
    hypnogram: Path | None = None
    yasa: bool = False
    video_offset_s: float | None = None
    region: tuple[float, float, float, float] | None = None
    channels: Mapping[str, tuple[str, ...]] = {}

    @property
    def files(self) -> dict[str, Path]:
        """The files that there are, by column."""
        found = {"eeg": self.eeg, "video": self.video, "hypnogram": self.hypnogram}
        return {what: path for what, path in found.items() if path is not None}


class NightTable(NamedTuple):
    """All nights, and what its user should know of how the table was read."""

    nights: tuple[NightRow, ...]
    notes: tuple[str, ...]


def read_table(path: str | Path) -> NightTable:
    """Read and check a table of nights.

    Relative names of files are relative to the table; absolute ones and ``..`` are followed. The
    text may be UTF-8, UTF-16 or Windows-1252, with commas, semicolons or tabs between the cells.
    A night without a name is called by its subject and its number among that subject's rows.

    Raises:
        FileNotFoundError: there is no such table, or some of the files that it names are missing:
            all are listed.
        ValueError: the table cannot be read, or has mistakes: all are listed, with their lines.
    """
    path = Path(path).expanduser()
    sheet = read_sheet(path)
    _check_columns(path, sheet)
    problems: list[str] = []
    seen: Counter[str] = Counter()
    nights: list[tuple[int, NightRow]] = []
    for line, fields in sheet.rows:
        cells = Cells(fields, f"line {line}", problems)
        subject = cells.get("subject")
        seen[subject] += 1
        row = _night(cells, path.parent, subject, seen[subject])
        nights.append((line, row))
    placed = [(f"line {line}", row) for line, row in nights]
    problems += _clashes(placed)
    problems += [] if problems else _copies(placed)  # which reads files, so all must be there
    if problems:
        kind = FileNotFoundError if all(": missing " in one for one in problems) else ValueError
        raise kind(_listed(path, problems))
    rows = tuple(row for _, row in nights)
    return NightTable(rows, (*sheet.notes, *_notes(path.parent, rows)))


def single_night(cells: Mapping[str, str]) -> NightRow:
    """The one night of the command line, from texts as a table's cells hold them.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a mistake; all are listed.
    """
    problems: list[str] = []
    read = Cells(dict(cells), "", problems)
    row = _night(read, Path(), read.get("subject"), 1)
    if problems:
        kind = FileNotFoundError if all("missing " in one for one in problems) else ValueError
        raise kind("; ".join(problems))
    return row


def _check_columns(path: Path, sheet: Sheet) -> None:
    problems = []
    for name, count in Counter(sheet.columns).items():
        if count > 1 and name:
            problems.append(f"the column {name!r} occurs {count} times")
        if name in COLUMNS or name.startswith(IGNORED) or not name:
            continue
        near = get_close_matches(name, COLUMNS, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else "rename or remove it"
        problems.append(
            f"unknown column {name!r}: {hint} (a column of your own may stay as {IGNORED + name!r})"
        )
    if "subject" not in sheet.columns or not {"eeg", "video"} & set(sheet.columns):
        problems.append(
            f"expected the column subject, and eeg or video or both; known are {', '.join(COLUMNS)}"
        )
    if problems:
        raise ValueError(_listed(path, problems))


def _night(cells: Cells, folder: Path, subject: str, number: int) -> NightRow:
    if not subject:
        cells.wrong("has no subject; say who slept")
    name = cells.get("night") or f"{subject}-{number}"
    if subject:
        try:
            plain_name(name, "the night")
        except ValueError as error:
            cells.wrong(f"{error}: the column night gives it another name")
    scorer = cells.get("hypnogram")
    by_yasa = scorer.lower() == YASA
    eeg = night_file(cells, "eeg", folder)
    video = night_file(cells, "video", folder)
    if not cells.get("eeg") and not cells.get("video"):
        cells.wrong("has neither eeg nor video; expected one of them, or both")
    if scorer and not cells.get("eeg"):
        cells.wrong(
            "has a hypnogram and no eeg, whose clock a hypnogram is on; give the recording, or "
            "leave the hypnogram out"
        )
    offset_s = offset_of(cells)
    if offset_s is not None and not (cells.get("eeg") and cells.get("video")):
        cells.wrong("has video_offset_s, which is between eeg and video, and lacks one of them")
    return NightRow(
        name=name,
        subject=subject,
        eeg=eeg,
        video=video,
        hypnogram=None if by_yasa else night_file(cells, "hypnogram", folder),
        yasa=by_yasa,
        video_offset_s=offset_s,
        region=region_of(cells),
        channels=channels_of(cells),
    )


def _clashes(nights: Sequence[tuple[str, NightRow]]) -> list[str]:
    """Nights that would be written into one folder, and files that would be two subjects'."""
    problems = []
    names: dict[str, str] = {}
    owners: dict[Path, tuple[str, NightRow]] = {}
    for where, row in nights:
        folded = unicodedata.normalize("NFC", row.name).casefold()
        if folded in names:
            problems.append(
                f"{where}: the night {row.name!r} is that of {names[folded]}, too; give each night "
                "a name of its own (names that differ in case alone are one folder on some systems)"
            )
        names.setdefault(folded, where)
        clash = None
        for path in row.files.values():
            other, first = owners.setdefault(path.resolve(), (where, row))
            if other == where:
                continue
            if first.subject != row.subject:
                clash = f"{where}: {path} is a file of {other}, which is of another subject"
            elif (first.eeg, first.video) == (row.eeg, row.video):
                clash = f"{where}: the same files are in {other}; remove one of the two"
            elif path == row.hypnogram == first.hypnogram and row.eeg != first.eeg:
                clash = f"{where}: {path} is the hypnogram of {other}, too, of another recording"
        if clash:
            problems.append(clash)
    return problems


def _copies(nights: Sequence[tuple[str, NightRow]]) -> list[str]:
    """Recordings and films that are those of another row under another name.

    One night as two sleepers would be learned from and judged by.
    """
    same_size: dict[tuple[str, int], dict[Path, str]] = {}
    for where, row in nights:
        for what in {"eeg", "video"} & set(row.files):
            path = row.files[what].resolve()
            same_size.setdefault((what, path.stat().st_size), {}).setdefault(path, where)
    problems = []
    for paths in same_size.values():
        first: dict[str, Path] = {}
        for path, where in paths.items() if len(paths) > 1 else ():
            other = first.setdefault(fingerprint(path), path)
            if other != path:
                problems.append(
                    f"{where}: {path} has the content of {other} in {paths[other]}; a night may "
                    "be in the table once: remove one of the two, or copy the right file again"
                )
    return problems


def _notes(folder: Path, rows: Sequence[NightRow]) -> Iterable[str]:
    root = folder.resolve()
    outside = [
        path
        for row in rows
        for path in row.files.values()
        if not path.resolve().is_relative_to(root)
    ]
    if outside:
        yield (
            f"{len(outside)} files lie outside the table's folder {root} (first: {outside[0]}); "
            "they are read where they are"
        )
    spelled: dict[str, str] = {}
    for subject in dict.fromkeys(row.subject for row in rows):
        other = spelled.setdefault(subject.casefold(), subject)
        if other != subject:
            yield f"subjects {other!r} and {subject!r} differ in case alone: they count as two"


def _listed(path: Path, problems: Sequence[str]) -> str:
    more = len(problems) - SHOWN
    shown = [*problems[:SHOWN], *([f"and {more} more"] if more > 0 else [])]
    return "\n  ".join([f"{path} has {len(problems)} mistake(s); correct the table:", *shown])
