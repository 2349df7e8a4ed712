"""Where a night's epochs lie on the clocks of its recording and its film."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from xdistill.data.sleep_stages import EPOCH_S
from xdistill.sleep.grid import Grid

LIKELY_ERRORS_H = (*(side * hours for hours in range(1, 15) for side in (1, -1)), 24, -24)
"""By how many hours clocks are set wrongly: time zones, summer time, and the date at midnight."""


def expected_offset(
    recording_start: datetime | None, film_start: datetime | None, offset_s: float | None = None
) -> float:
    """When the film starts, in seconds since the recording's first sample.

    Args:
        recording_start: date and time of its first sample, without a time zone.
        film_start: date and time of the film's first frame, without a time zone.
        offset_s: as the user gives it, which goes before the two start times.

    Raises:
        ValueError: no offset is given, and one of the start times is not known.
    """
    if offset_s is not None:
        if not math.isfinite(offset_s):
            raise ValueError(f"offset_s must be a finite number of seconds, got {offset_s}")
        return float(offset_s)
    if recording_start is None or film_start is None:
        lacking = [
            name
            for name, start in (("recording", recording_start), ("film", film_start))
            if start is None
        ]
        raise ValueError(
            f"the {' and the '.join(lacking)} say{'s' * (len(lacking) == 1)} no start time; pass "
            "offset_s, the film's start in seconds since the recording's first sample"
        )
    for name, start in (("recording", recording_start), ("film", film_start)):
        if start.tzinfo is not None:
            raise ValueError(
                f"the {name}'s start {start} has a time zone; expected local time without one, for "
                "recorders know none: pass start.replace(tzinfo=None) of the local time"
            )
    return (film_start - recording_start).total_seconds()


def grids(
    recording_start: datetime | None,
    film_start: datetime | None,
    recording_duration_s: float,
    film_duration_s: float,
    offset_s: float | None = None,
    drift: float = 0.0,
    *,
    first_epoch_s: float = 0.0,
) -> tuple[Grid, Grid]:
    """The epochs of a night on the clock of its recording, and the same on that of its film.

    The epochs are those of the recording. A film that starts later, or is shorter, has none of the
    first or the last of them: there is no video in those.

    Args:
        recording_start: see `expected_offset`.
        film_start: see `expected_offset`.
        recording_duration_s: length of the recording.
        film_duration_s: length of the film by its own clock.
        offset_s: see `expected_offset`, or from `estimate_alignment`.
        drift: seconds that the film's clock gains in each of the recording's.
        first_epoch_s: when the first epoch begins, since the recording's first sample: where the
            hypnogram begins.

    Raises:
        ValueError: no offset is known, the two do not overlap by an epoch, or lengths that hold no
            epoch.
    """
    if not (math.isfinite(drift) and abs(drift) < 0.5):
        raise ValueError(f"drift must be seconds gained per second, near 0, got {drift}")
    count = int((recording_duration_s - first_epoch_s + 1e-6) // EPOCH_S)
    if first_epoch_s < 0 or count < 1:
        raise ValueError(
            f"a recording of {recording_duration_s:g} s holds no epoch of {EPOCH_S} s from "
            f"{first_epoch_s:g} s on; expected one at least, and a beginning that is not negative"
        )
    offset = expected_offset(recording_start, film_start, offset_s)
    film_s = film_duration_s / (1 + drift)
    end_s = first_epoch_s + count * EPOCH_S
    overlap_s = min(end_s, offset + film_s) - max(first_epoch_s, offset)
    if overlap_s < min(EPOCH_S, film_s) or film_s <= 0:
        raise ValueError(
            _no_overlap(recording_start, film_start, (first_epoch_s, end_s), offset, film_s)
        )
    eeg = Grid(first_epoch_s, count)
    return eeg, Grid((first_epoch_s - offset) * (1 + drift), count, drift)


def _no_overlap(
    recording_start: datetime | None,
    film_start: datetime | None,
    epochs_s: tuple[float, float],
    offset_s: float,
    film_s: float,
) -> str:
    """What came, and what clock error would explain it."""
    scored = _span(recording_start, *epochs_s)
    if film_start is not None and recording_start is not None:
        given_s = (film_start - recording_start).total_seconds()
        filmed = _span(film_start, offset_s - given_s, offset_s - given_s + film_s)
    else:
        filmed = _span(recording_start, offset_s, offset_s + film_s)
    text = f"recording and film do not overlap: epochs from {scored}, film from {filmed}"
    for hours in LIKELY_ERRORS_H:
        moved_s = offset_s + 3600 * hours
        if min(epochs_s[1], moved_s + film_s) - max(epochs_s[0], moved_s) >= EPOCH_S:
            return (
                f"{text}; they would if one clock were wrong by {abs(hours)} h (time zone, summer "
                f"time, date): check both, and if so pass offset_s={moved_s:g}"
            )
    return (
        f"{text}; check that they are of the same night, and pass offset_s, the film's start in "
        "seconds since the recording's first sample"
    )


def _span(start: datetime | None, first_s: float, last_s: float) -> str:
    if start is None:
        return f"{first_s:g} s to {last_s:g} s after the recording's start"
    first, last = (start + timedelta(seconds=round(each)) for each in (first_s, last_s))
    return f"{first} to {last}"
