"""Times in hypnograms: seconds, times of day and dates, and from when they count."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

DAY_S = 86400.0
FARTHEST_S = DAY_S
"""A hypnogram that starts this much before or after its recording is of another night."""
ANONYMOUS = datetime(1985, 1, 1)
"""The date and time of EDF+ files without one."""
FORMATS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y", "%d-%b-%Y"),
    *("%d-%m-%y", "%d/%m/%Y"),
)


def shift_s(start: datetime | None, recording_start: datetime | None, where: object) -> float:
    """Seconds from a recording's first sample to a hypnogram's own start.

    0, with a warning, where one of them has no date: the two are then taken to start together.

    Raises:
        ValueError: the hypnogram is of another night.
    """
    if recording_start is None or start == recording_start:
        return 0.0
    if start is None or start == ANONYMOUS:
        warnings.warn(
            f"{where} does not say when it starts; it is taken to start with its recording",
            stacklevel=2,
        )
        return 0.0
    if recording_start.replace(microsecond=0) == ANONYMOUS:
        warnings.warn(
            f"{where} starts at {start}, and its recording has no date; they are taken to start "
            "together",
            stacklevel=2,
        )
        return 0.0
    seconds = (start - recording_start).total_seconds()
    if abs(seconds) >= FARTHEST_S:
        raise ValueError(
            f"{where} starts at {start}, and its recording at {recording_start}, expected the same "
            "night; one of them is of another, or its date is wrong"
        )
    return seconds


def seconds_of(
    texts: Sequence[str], recording_start: datetime | None, where: object
) -> list[float]:
    """Seconds since the recording's first sample, of times in one column.

    They are numbers of seconds, dates with times, or times of day, which go on past midnight.

    Raises:
        ValueError: a text that is no time, or no order of time in times of day.
    """
    if all(_is_number(text) for text in texts):
        return [float(text) for text in texts]
    moments = [_moment(text) for text in texts]
    if all(moment is not None for moment in moments):
        known = [moment for moment in moments if moment is not None]
        first_s = shift_s(known[0], _told(recording_start, known[0], where), where)
        return [first_s + (moment - known[0]).total_seconds() for moment in known]
    days = [day_s(text) for text in texts]
    bad = next((text for text, one in zip(texts, days, strict=True) if one is None), None)
    if bad is not None:
        raise ValueError(
            f"{where} has the time {bad!r}; expected seconds since the recording's start, times of "
            "day (23:05:30), or dates with times (2026-01-31 23:05:30), all of one kind"
        )
    clock = [one for one in days if one is not None]
    first_s = _first(clock[0], recording_start, texts[0], where)
    steps = [(two - one) % DAY_S for one, two in pairwise(clock)]
    if sum(steps) > 2 * DAY_S:
        raise ValueError(f"{where} has times of day that are not in order; sort its lines")
    result = [first_s]
    for step in steps:
        result.append(result[-1] + step)
    return result


def day_s(text: str) -> float | None:
    """Seconds since midnight of a time of day; None for another text."""
    match = re.fullmatch(
        r"\s*(\d{1,2})[:.](\d\d)[:.](\d\d(?:[.,]\d+)?)\s*([ap]m)?\s*", text.strip(), re.IGNORECASE
    )
    if match is None:
        return None
    hour, minute, second = int(match[1]), int(match[2]), float(match[3].replace(",", "."))
    if match[4]:
        hour = hour % 12 + (12 if match[4].lower() == "pm" else 0)
    return hour * 3600.0 + minute * 60 + second if hour < 24 and minute < 60 else None


def _first(clock_s: float, recording_start: datetime | None, text: str, where: object) -> float:
    """Seconds from the recording's start to the nearest moment with a time of day."""
    if recording_start is None:
        _told(None, text, where)
        return 0.0
    midnight = recording_start.replace(hour=0, minute=0, second=0, microsecond=0)
    difference = clock_s - (recording_start - midnight).total_seconds()
    return (difference + DAY_S / 2) % DAY_S - DAY_S / 2


def _told(recording_start: datetime | None, first: object, where: object) -> datetime | None:
    if recording_start is None:
        warnings.warn(
            f"{where} begins at {first}, but when its recording began is not known; they are taken "
            "to start together",
            stacklevel=3,
        )
    return recording_start


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d+(\.\d*)?([eE][+-]?\d+)?\s*", text) is not None


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        date, _, time = text.strip().partition(" ")
        seconds = day_s(time)
        if seconds is None:
            return None
        for form in FORMATS:
            try:
                return datetime.strptime(date, form) + timedelta(seconds=seconds)
            except ValueError:
                continue
        return None
    return found.replace(tzinfo=None)
