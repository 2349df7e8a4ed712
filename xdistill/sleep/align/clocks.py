"""Offset and drift between the clocks of a recording and a film of the same night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from xdistill.sleep.align.courses import (
    Course,
    activity_course,
    belt_course,
    breathing_course,
    muscle_course,
)
from xdistill.sleep.align.lags import correlate
from xdistill.sleep.align.line import MAX_DRIFT, Line, find_line

if TYPE_CHECKING:
    from xdistill.sleep.recordings.recording import Recording

Evidence = Literal["belt", "movement", "none"]


class Way(NamedTuple):
    """How one kind of evidence is looked at, and from when on it is clear."""

    window_s: float
    either_sign: bool  # a film does not know which way a chest moves
    least_correlation: float
    least_lead: float
    least_windows: int
    most_spread_s: float


WAYS = {
    "belt": Way(60, True, 0.5, 4.0, 8, 0.4),
    "movement": Way(120, False, 0.25, 4.0, 8, 0.6),
}


class Alignment(NamedTuple):
    """Where the film's clock lies on the recording's.

    A film's time is ``(recording's time - offset_s) * (1 + drift)``.

    Attributes:
        offset_s: the film's start, in seconds since the recording's first sample; NaN without
            evidence.
        offset_sd_s: its standard deviation.
        drift: seconds that the film's clock gains in each of the recording's; NaN without evidence.
        drift_sd: its standard deviation.
        correlation: median over the windows; 0 without evidence.
        windows: of the night that agree.
        evidence: what the two have in common: breathing, movement, or nothing that was found.
        clear: whether the evidence is such that the film may be moved by it.
    """

    offset_s: float
    offset_sd_s: float
    drift: float
    drift_sd: float
    correlation: float
    windows: int
    evidence: Evidence
    clear: bool


def alignment_text(found: Alignment, *, offset_s: float, search_s: float = 60.0) -> str:
    """What was found in one sentence, and what to do where nothing was.

    Args:
        found: by `estimate_alignment`.
        offset_s: the expected offset it was given.
        search_s: how far it searched.
    """
    if not found.clear:
        return (
            f"no offset found within {search_s:g} s of the expected {offset_s:g} s: neither "
            "breathing nor movement of the film fits the recording's clearly; if a start time is "
            "wrong (time zone, summer time, camera clock), pass offset_s near the true one, or a "
            "larger search; else the start times are taken as they are"
        )
    what = {"belt": "breathing", "movement": "movement"}[found.evidence]
    by_hour_s = 3600 * found.drift
    return (
        f"by {what} in {found.windows} windows the film begins {found.offset_s:.2f} s "
        f"(± {found.offset_sd_s:.2f}) after the recording, expected {offset_s:.2f} s, and its "
        f"clock gains {by_hour_s:+.3f} s (± {3600 * found.drift_sd:.3f}) an hour"
    )


NOT_FOUND = Alignment(np.nan, np.nan, np.nan, np.nan, 0.0, 0, "none", False)


def estimate_alignment(
    recording: Recording,
    body: Float32[np.ndarray, "c t"],
    rate_hz: float,
    *,
    offset_s: float,
    search_s: float = 60.0,
) -> Alignment:
    """Estimates offset and drift from what both recordings show.

    Breathing is compared with breathing where the recording has a belt, else, or where that is not
    clear, power of muscle with activity.

    Args:
        recording: with "resp", "emg" or "eeg".
        body: breathing and activity as its first two rows, from the film's start on; NaN where
            there is no frame.
        rate_hz: of ``body``.
        offset_s: the film's expected start, in seconds since the recording's first sample.
        search_s: how far from that it is looked for, at the middle of the night.

    A film shows small motion later than it happened by what its encoder leaves out, up to a tenth
    of a second in ours, and a standard deviation does not tell.

    Raises:
        ValueError: an expected offset or a search that is no number, or a body of another shape.
    """
    if not (np.isfinite(offset_s) and 0 < search_s <= 3600):
        raise ValueError(
            f"offset_s must be finite and search_s above 0 and at most 3600, got {offset_s} and "
            f"{search_s}"
        )
    if body.ndim != 2 or len(body) < 2:
        raise ValueError(
            f"body must be [c, t] with breathing and activity as rows 0 and 1, got {body.shape}"
        )
    belt, muscle = belt_course(recording), muscle_course(recording)
    if belt is not None:
        found = _compare(belt, breathing_course(body, rate_hz), offset_s, search_s, "belt")
        if found.clear:
            return found
    if muscle is None:
        return NOT_FOUND
    return _compare(muscle, activity_course(body, rate_hz), offset_s, search_s, "movement")


def _compare(
    recorded: Course, filmed: Course, offset_s: float, search_s: float, evidence: Evidence
) -> Alignment:
    way = WAYS[evidence]
    half_s = len(filmed.values) / filmed.rate_hz / 2
    lags = correlate(
        recorded,
        filmed,
        offset_s=offset_s,
        window_s=way.window_s,
        search_s=search_s + MAX_DRIFT * half_s + 2,
    )
    line = find_line(
        lags,
        search_s=search_s,
        either_sign=way.either_sign,
        least=way.least_correlation,
    )
    if line is None or not _is_clear(line, way):
        return NOT_FOUND
    drift = 1 / (1 + line.slope) - 1
    return Alignment(
        offset_s + line.offset_s,
        line.offset_sd_s,
        drift,
        line.slope_sd,
        line.correlation,
        line.windows,
        evidence,
        True,
    )


def _is_clear(line: Line, way: Way) -> bool:
    return (
        line.lead >= way.least_lead
        and line.windows >= way.least_windows
        and line.spread_s <= way.most_spread_s
        and not line.at_edge
    )
