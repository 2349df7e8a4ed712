"""What gain to expect, learned from pairs of modalities on which students were trained."""

from __future__ import annotations

from dataclasses import dataclass

from xdistill.diagnosis.learned import INTERCEPT, PER_POINT, SPREAD


@dataclass(frozen=True)
class Expected:
    """A gain of macro-F1, 0 to 1, over the student that learns from the labelled rows alone.

    Attributes:
        gain: the expected one.
        low: below it were one in ten of the gains of sets that were left out.
        high: above it were one in ten.
    """

    gain: float
    low: float
    high: float


def expected_gain(probe_gain: float) -> Expected:
    """The gain to expect of `xdistill.recipe` where a linear student gains ``probe_gain``.

    A straight line through conditions of the suite; the interval is from sources of data that were
    left out of the fit (`benchmarks/diagnose.py`).
    """
    gain = INTERCEPT + PER_POINT * probe_gain
    return Expected(gain, gain + SPREAD[0], gain + SPREAD[1])
