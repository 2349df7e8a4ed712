"""Where a night's film lies on the clock of its recording, and whether it is to be moved."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from xdistill.data.sleep_stages import EPOCH_S
from xdistill.sleep.align.clocks import Alignment
from xdistill.sleep.align.grids import expected_offset, grids
from xdistill.sleep.films.facts import FilmFacts
from xdistill.sleep.grid import Grid
from xdistill.sleep.prepare.options import CorrectDrift
from xdistill.sleep.recordings.recording import Recording

SEARCH_S = 60.0
"""How far from its expected place a film is looked for."""
NOTICEABLE_S = 0.5
"""A film that is off by less than a frame of its clips need not be moved."""
SURE = 3.0
"""Standard deviations by which a difference passes for one."""


class Clock(NamedTuple):
    """The epochs of a night on its recordings' clocks.

    Attributes:
        start: date and time of the first epoch's beginning; None where it is not known.
        count: number of epochs.
        eeg: the epochs on the recording's clock; None without a recording.
        film: the epochs on the film's clock, as expected; None without a film.
        offset_s: expected start of the film, in seconds since the recording's first sample; NaN
            unless there are both.
    """

    start: datetime | None
    count: int
    eeg: Grid | None
    film: Grid | None
    offset_s: float


def clock_of(
    recording: Recording | None,
    film: FilmFacts | None,
    offset_s: float | None,
    first_epoch_s: float,
) -> Clock:
    """The night's epochs where the start times, or the given offset, say that they are.

    Args:
        recording: None for a night without.
        film: None for a night without.
        offset_s: the user's; None to take the start times.
        first_epoch_s: when the first epoch begins, since the recording's first sample.

    Raises:
        ValueError: the two do not overlap, a start time is not known, or the night has no epoch.
    """
    if recording is not None and film is not None:
        offset = expected_offset(recording.start, film.start, offset_s)
        eeg, filmed = grids(
            recording.start,
            film.start,
            recording.duration_s,
            film.duration_s,
            offset,
            first_epoch_s=first_epoch_s,
        )
        count = eeg.count or 0
        return Clock(_later(recording.start, first_epoch_s), count, eeg, filmed, offset)
    one = recording or film
    if one is None:
        raise ValueError("a night needs a recording or a film")
    begin_s = first_epoch_s if recording is not None else 0.0
    count = int((one.duration_s - begin_s + 1e-6) // EPOCH_S)
    if count < 1:
        raise ValueError(
            f"{one.path} lasts {one.duration_s:g} s, from {begin_s:g} s on no epoch of {EPOCH_S} "
            "s; expected a night"
        )
    grid, start = Grid(begin_s, count), _later(one.start, begin_s)
    if recording is not None:
        return Clock(start, count, grid, None, math.nan)
    return Clock(start, count, None, grid, math.nan)


def _later(start: datetime | None, seconds: float) -> datetime | None:
    return None if start is None else start + timedelta(seconds=seconds)


class Move(NamedTuple):
    """What is made of an estimate.

    Attributes:
        grid: the epochs on the film's clock that its pictures are taken from.
        moved: whether it is another than expected.
        largest_s: how far the film is off its expected place, where that is most; NaN without
            evidence.
        warning: what the user should know of it; None for nothing.
    """

    grid: Grid
    moved: bool
    largest_s: float
    warning: str | None


def moved_grid(clock: Clock, found: Alignment | None, correct: CorrectDrift) -> Move:
    """Decide by the option whether the film is moved to where the evidence puts it.

    Args:
        clock: of the night, with a film.
        found: the estimate; None where there is no recording to compare with.
        correct: the option.
    """
    assert clock.film is not None
    if found is None:
        return Move(clock.film, False, math.nan, None)
    if found.evidence == "none":
        warning = (
            "the film's clock could not be checked against the recording's: nothing that both show "
            f"agrees within {SEARCH_S:g} s of the expected start; look whether they are of one "
            "night and the start times are right"
        )
        if correct == "always":
            warning += ". Nothing was moved"
        return Move(clock.film, False, math.nan, warning)
    grid = _found_grid(clock, found)
    length_s = clock.count * EPOCH_S
    ends = [abs(grid.start_of(at) - clock.film.start_of(at)) for at in (0, clock.count)]
    largest_s = max(ends)
    unsure_s = SURE * math.hypot(found.offset_sd_s, found.drift_sd * length_s)
    differs = largest_s > max(NOTICEABLE_S, unsure_s)
    move = correct == "always" or (correct == "auto" and found.clear and differs)
    if not differs:
        return Move(grid if move else clock.film, move, largest_s, None)
    told = (
        f"the film is {largest_s:.1f} s off where its start time puts it, by its {found.evidence} "
        f"(offset {found.offset_s:.2f} s, drift {found.drift * 1e6:.0f} ppm)"
    )
    if move:
        return Move(grid, True, largest_s, f"{told}: it was moved there")
    how = "not clear enough" if correct == "auto" else "to be left"
    return Move(clock.film, False, largest_s, f"{told}: it was not moved, for this is {how}")


def _found_grid(clock: Clock, found: Alignment) -> Grid:
    assert clock.eeg is not None
    rate = 1 + found.drift
    return Grid((clock.eeg.start_s - found.offset_s) * rate, clock.count, found.drift)


def beyond(clock: Clock, film: FilmFacts) -> str | None:
    """How much of the film lies before and after the recording's epochs; None for little."""
    assert clock.film is not None
    before_s = clock.film.start_s
    after_s = film.duration_s - clock.film.start_of(clock.count)
    parts = [
        f"{seconds:.0f} s {where}"
        for seconds, where in ((before_s, "before"), (after_s, "after"))
        if seconds >= EPOCH_S
    ]
    if not parts:
        return None
    return f"the film also shows {' and '.join(parts)} the recording's epochs: those are left out"


def facts_of(clock: Clock, found: Alignment | None, move: Move | None) -> dict[str, Any]:
    """What night.json keeps: what was expected, found and taken."""

    def number(value: float) -> float | None:
        return None if math.isnan(value) else round(value, 9)

    grid = clock.film if move is None else move.grid
    both = clock.eeg is not None and grid is not None
    drift = grid.drift if grid is not None else 0.0
    taken = (
        clock.eeg.start_s - grid.start_s / (1 + drift)
        if clock.eeg is not None and grid is not None
        else math.nan
    )
    estimate = None
    if found is not None:
        estimate = {
            name: number(one) if isinstance(one, float) else one
            for name, one in found._asdict().items()
        }
    return {
        "first_epoch_s": clock.eeg.start_s if clock.eeg else 0.0,
        "offset_s": number(taken) if both else None,
        "drift": number(drift) if both else None,
        "expected_offset_s": number(clock.offset_s),
        "moved": move is not None and move.moved,
        "alignment": estimate,
    }
