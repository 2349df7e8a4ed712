"""The prepared folder between runs: which nights it has, and which are to do."""

from __future__ import annotations

import errno
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xdistill.data.adapters.nights import (
    NightStatus,
    read_night,
    read_prepared,
    write_epochs,
    write_prepared,
)
from xdistill.data.adapters.nights.folder import PREPARED
from xdistill.data.adapters.nights.layout import FACTS, night_folder
from xdistill.data.files.names import natural_key
from xdistill.sleep.prepare.options import Options
from xdistill.sleep.prepare.sources import differences, made_from
from xdistill.sleep.prepare.table import NightRow
from xdistill.storage.json_file import read_json
from xdistill.storage.lock import is_used

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


class Plan(NamedTuple):
    """What is to do.

    Attributes:
        todo: nights to prepare.
        kept: nights of the table that are finished and whole.
        nights: what the folder holds beside those to do.
        notes: what the user should know.
    """

    todo: tuple[NightRow, ...]
    kept: tuple[NightRow, ...]
    nights: dict[str, NightStatus]
    notes: tuple[str, ...]


def plan_for(root: Path, rows: Sequence[NightRow], options: Options) -> Plan:
    """Compare the table with what is in the folder; nothing is written.

    Raises:
        FileExistsError: the folder holds something else.
        ValueError: nights there were prepared with other options, or from other files; says
            which differ.
    """
    before = _before(root)
    if before is None:
        return Plan(tuple(rows), (), {}, ())
    wanted = {row.name: row for row in rows}
    others = {name: night for name, night in before.nights.items() if name not in wanted}
    _check_names(wanted, others)
    _check_options(root, before.options, options, others)
    notes: list[str] = []
    if others:
        notes.append(f"{len(others)} nights of {root} are not in the table; they stay")
    if options.overwrite:
        return Plan(tuple(rows), (), others, tuple(notes))
    todo, kept, changed = [], [], []
    for row in rows:
        found = _found(root, row, options)
        if found.differs and row.name in before.nights:
            changed += [f"night {row.name}: {one}" for one in found.differs]
        elif found.whole and not found.differs:
            kept.append(row)
        else:
            todo.append(row)
            notes += [f"night {row.name} is prepared again: {found.why}"] if found.why else []
    if changed:
        raise ValueError(_refusal(root, changed))
    nights = others | {row.name: NightStatus(row.subject, "done") for row in kept}
    return Plan(tuple(todo), tuple(kept), nights, tuple(notes))


def keep(root: Path, options: Options, nights: Mapping[str, NightStatus]) -> None:
    """Write prepared.json; the order of its nights does not depend on that of the work."""
    ordered = {name: nights[name] for name in sorted(nights, key=natural_key)}
    write_prepared(root, options.settings(), ordered)


def complete(root: Path) -> None:
    """Write the table of all nights' epochs."""
    if read_prepared(root).done:
        write_epochs(root)


def stops_all(error: Exception) -> bool:
    """Whether other nights would fail in the same way: a full disk, or a missing library."""
    return isinstance(error, ImportError) or getattr(error, "errno", None) in NO_ROOM


def facts_of_night(root: Path, name: str) -> dict[str, Any]:
    """What night.json of a finished night holds."""
    return read_json(night_folder(root, name) / FACTS)


class _Found(NamedTuple):
    whole: bool
    differs: list[str]
    why: str = ""


def _found(root: Path, row: NightRow, options: Options) -> _Found:
    """What the folder has of a night, checked against the checksums of its files."""
    folder = night_folder(root, row.name)
    if not folder.exists():
        return _Found(False, [])
    try:
        facts = read_night(root, row.name, check=True).facts
    except (ValueError, FileNotFoundError) as error:
        return _Found(False, [], str(error).partition("; ")[0])
    return _Found(True, differences(facts.get("made_from", {}), made_from(row, options)))


def _before(root: Path):
    if (root / PREPARED).is_file():
        return read_prepared(root)
    if is_used(root):
        raise FileExistsError(
            f"{root} is not empty and holds no {PREPARED}, so it is no prepared folder; choose "
            "another one with --out"
        )
    return None


def _check_names(wanted: Iterable[str], others: Iterable[str]) -> None:
    folded = {_folded(name): name for name in others}
    for name in wanted:
        if (other := folded.get(_folded(name))) is not None:
            raise ValueError(
                f"the night {name!r} and {other!r}, which is prepared already, differ in case "
                "alone, and are one folder on some systems; rename it in the table"
            )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _check_options(
    root: Path, before: Mapping[str, Any], options: Options, others: Mapping[str, NightStatus]
) -> None:
    differs = differences(dict(before), options.settings())
    if not differs:
        return
    if not options.overwrite:
        raise ValueError(_refusal(root, differs))
    if left := [name for name, night in others.items() if night.status == "done"]:
        raise ValueError(
            f"{root} also has nights that are not in the table ({', '.join(left[:10])}), and that "
            f"would keep the other options ({'; '.join(differs)}); add them to the table, or "
            "choose another folder with --out"
        )


def _refusal(root: Path, differs: Sequence[str]) -> str:
    lines = "\n  ".join(differs[:30])
    return (
        f"{root} was prepared otherwise:\n  {lines}\nchoose another folder with --out, use the "
        "same again, or pass --overwrite to prepare all nights of the table again"
    )
