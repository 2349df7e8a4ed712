"""A film's epochs through a student in small batches, and its context over the whole night."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

import numpy as np

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.sleep.body.features import BODY_FEATURES
from xdistill.sleep.films.epochs import VideoEpoch
from xdistill.sleep.marks import Mark
from xdistill.sleep.report.night import StagedNight
from xdistill.sleep.stage.stager import Stager


class Decision(NamedTuple):
    """A live decision on the epoch that has just ended.

    Attributes:
        number: of the epoch.
        probabilities: [5] in the order of `STAGES`; NaN without video.
        marks: of the epoch.
    """

    number: int
    probabilities: np.ndarray
    marks: frozenset[Mark]

    @property
    def stage(self) -> str | None:
        """The likeliest stage; None without video."""
        if np.isnan(self.probabilities).any():
            return None
        return STAGES[int(self.probabilities.argmax())]


class NightSoFar:
    """Collects what a student says of each epoch: a few numbers, never pictures.

    Args:
        stager: the student.
    """

    def __init__(self, stager: Stager):
        self.stager = stager
        self._rows: list[np.ndarray | None] = []
        self._features: list[tuple[float, ...]] = []
        self._marks: list[frozenset[Mark]] = []

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, epochs: list[VideoEpoch]) -> None:
        """The next epochs, which the student sees as one batch."""
        for epoch in epochs:
            if epoch.number != len(self._marks):
                raise ValueError(
                    f"epoch {epoch.number} came after {len(self._marks)} others; every epoch of a "
                    "night must come once, in order"
                )
            features = (float("nan"),) * len(BODY_FEATURES)
            self._features.append(tuple(epoch.features) if epoch.features else features)
            self._marks.append(epoch.marks)
            self._rows.append(None)
        seen = [one for one in epochs if one.clip is not None and one.body is not None]
        if seen:
            clips, bodies = (np.stack([getattr(one, name) for one in seen]) for name in INPUTS)
            for epoch, row in zip(seen, self.stager.embed(clips, bodies), strict=True):
                self._rows[epoch.number] = row

    def probabilities(self) -> np.ndarray:
        """Float32 [E, 5] of all epochs so far, with the context as it is now."""
        valid = np.array([row is not None for row in self._rows], bool)
        found = np.full((len(self), len(STAGES)), np.nan, np.float32)
        if not valid.any():
            return found
        width = len(next(row for row in self._rows if row is not None))
        rows = np.zeros((len(self), width), np.float32)
        for at in np.flatnonzero(valid):
            rows[at] = self._rows[at]
        return self.stager.stage(rows, valid)

    def night(self, source: str, start: datetime | None) -> StagedNight:
        """What was collected, staged.

        Raises:
            ValueError: there is no epoch.
        """
        if not len(self):
            raise ValueError(f"{source} has no whole epoch of {EPOCH_S} s; nothing can be staged")
        features = np.array(self._features, np.float32)
        return StagedNight(
            source, start, self.probabilities(), features, BODY_FEATURES, tuple(self._marks)
        )


INPUTS = ("clip", "body")


def stage_film(epochs: Iterable[VideoEpoch], stager: Stager, batch_size: int) -> NightSoFar:
    """All epochs of a film, in batches."""
    night, batch = NightSoFar(stager), []
    for epoch in epochs:
        batch.append(epoch)
        if len(batch) == batch_size:
            night.add(batch)
            batch = []
    night.add(batch)
    return night


def stage_live(epochs: Iterable[VideoEpoch], night: NightSoFar) -> Iterator[Decision]:
    """A decision on each epoch as soon as it is over, from it and those before it alone."""
    for epoch in epochs:
        night.add([epoch])
        yield Decision(epoch.number, night.probabilities()[-1], epoch.marks)
