"""The epochs of a night on the clock of one recording."""

from __future__ import annotations

from typing import NamedTuple

from xdistill.data.sleep_stages import EPOCH_S


class Grid(NamedTuple):
    """Where the epochs of 30 s of a night lie on a recording's own clock.

    The night's clock is that of its EEG, or of its film where there is no EEG. A film that starts
    later than the EEG has a negative ``start_s``, and one whose clock runs fast a positive
    ``drift``.

    Attributes:
        start_s: time of the beginning of epoch 0 on the recording's clock, in seconds since the
            recording's first sample or frame.
        count: number of epochs; None for all that the recording holds, a last part dropped.
        drift: how much faster the recording's clock runs than the night's: 1e-4 are 2.9 s in
            eight hours.
    """

    start_s: float = 0.0
    count: int | None = None
    drift: float = 0.0

    @property
    def epoch_s(self) -> float:
        """Length of an epoch on the recording's clock."""
        return EPOCH_S * (1 + self.drift)

    def start_of(self, epoch: int) -> float:
        """When an epoch begins, on the recording's clock."""
        return self.start_s + epoch * self.epoch_s

    def epoch_at(self, time_s: float) -> int:
        """The epoch in which a time on the recording's clock lies; negative before the first."""
        return int((time_s - self.start_s) // self.epoch_s)
