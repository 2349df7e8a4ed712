"""The table that is printed at the end: a row a night, then what is to be known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xdistill.sleep.prepare.wording import without_names

HEAD = (
    "night",
    "subject",
    "epochs",
    "video",
    "EEG",
    "scored",
    "YASA",
    "offset",
    "drift",
    "clock by",
    "marked epochs",
)
LEFT = {"night", "subject", "clock by", "marked epochs"}
SHOWN = 8
"""Names of nights before a warning that they share."""
UNREMARKABLE = {"unscored", "no_video", "no_eeg"}
"""Marks that the columns count already."""


def summary(nights: Sequence[tuple[str, str, Mapping[str, Any] | str]]) -> str:
    """The text for nights of a name, a subject, and what night.json holds or why it failed."""
    rows = [HEAD, *(_cells(*night) for night in nights)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if name in LEFT else cell.rjust(width)
            for name, cell, width in zip(HEAD, row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, *_remarks(nights)])


def _cells(name: str, subject: str, facts: Mapping[str, Any] | str) -> tuple[str, ...]:
    if isinstance(facts, str):
        return (name, subject, "failed", *[""] * (len(HEAD) - 3))
    counts = facts["counts"]
    marks = {mark: n for mark, n in counts["marks"].items() if mark not in UNREMARKABLE}
    return (
        name,
        subject,
        *(str(counts[what]) for what in ("epochs", "video", "eeg", "scored", "yasa")),
        *_clock(facts),
        ", ".join(f"{mark} {n}" for mark, n in marks.items()),
    )


def _clock(facts: Mapping[str, Any]) -> tuple[str, str, str]:
    """Offset and drift that were taken, and on what grounds."""
    if facts["offset_s"] is None:
        return "", "", ""
    found, expected = facts["alignment"], facts["expected_offset_s"]
    told = f"{facts['offset_s']:+.2f} s", f"{facts['drift'] * 1e6:+.0f} ppm"
    if found is None or found["evidence"] == "none":
        return *told, "start times, unchecked"
    if facts["moved"]:
        return *told, f"{found['evidence']}, was {expected:+.2f} s"
    agrees = abs(found["offset_s"] - facts["offset_s"])
    return *told, f"start times; {found['evidence']} differs by {agrees:.2f} s"


def _remarks(nights: Sequence[tuple[str, str, Mapping[str, Any] | str]]) -> list[str]:
    """Failures, then warnings: one that several nights have is told once."""
    failed = [f"{name}: failed: {facts}" for name, _, facts in nights if isinstance(facts, str)]
    warned: dict[str, list[str]] = {}
    for name, _, facts in nights:
        if isinstance(facts, str):
            continue
        for text in facts["warnings"]:
            warned.setdefault(without_names(text, facts["sources"]), []).append(name)
    told = [f"{_names(names)}: warning: {text}" for text, names in warned.items()]
    return ["", *failed, *told] if failed or told else []


def _names(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
