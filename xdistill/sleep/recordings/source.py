"""What is in a recording's file: its channels, when each part was recorded, and how to read one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Channel(NamedTuple):
    """One channel as its file names it.

    Attributes:
        label: its name.
        rate_hz: samples a second.
        unit: of the values that `Source.read` gives, as the file states it; "" where it does not.
        kind: "eeg", "eog", "emg" or "resp" where the file says so.
        full_scale: the largest value that can be stored, in ``unit``; None where any can.
    """

    label: str
    rate_hz: float
    unit: str
    kind: str | None = None
    full_scale: float | None = None


class Run(NamedTuple):
    """A part that was recorded without a break, in seconds.

    Attributes:
        start_s: since the recording's first sample.
        stored_s: where it begins in the stored samples, which follow each other without gaps.
        length_s: of the part.
    """

    start_s: float
    stored_s: float
    length_s: float

    @property
    def end_s(self) -> float:
        """When it ends, since the recording's first sample."""
        return self.start_s + self.length_s

    def samples(self, rate_hz: float) -> slice:
        """Which of the stored samples of a channel are of this part."""
        first = round(self.stored_s * rate_hz)
        return slice(first, first + round(self.length_s * rate_hz))


class Source(NamedTuple):
    """A recording's file.

    Attributes:
        path: the file.
        start: date and time of the first sample, without a time zone; None where it is not known.
        channels: in the order of the file.
        runs: the parts that were recorded, in the order of time.
        read: all stored samples of the channel at a position.
    """

    path: Path
    start: datetime | None
    channels: tuple[Channel, ...]
    runs: tuple[Run, ...]
    read: Callable[[int], Float64[np.ndarray, " n"]]

    @property
    def duration_s(self) -> float:
        """From the first sample to the end of the last."""
        return self.runs[-1].end_s

    @property
    def gaps(self) -> tuple[tuple[float, float], ...]:
        """Start and end in seconds of what was not recorded between the first and last sample."""
        return tuple(
            (one.end_s, two.start_s) for one, two in pairwise(self.runs) if two.start_s > one.end_s
        )


def labels_of(channels: Sequence[Channel]) -> str:
    """The labels for a message: all of them, since one of them is the answer."""
    return ", ".join(repr(one.label) for one in channels) or "no channel"
