"""What gain to expect, learned from pairs of modalities on which students were trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xdistill.diagnosis.learned import INTERCEPT, PER_DOUBLING, SPREAD


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


def expected_gain(rows: int, labelled: int) -> Expected:
    """The gain to expect of `xdistill.recipe` where so many of the training rows have a label.

    A straight line in log₂(rows / labelled) through conditions of the suite; the interval is from
    sources of data that were left out of the fit (`benchmarks/diagnose.py`). Of six predictors,
    this is the only one that foretold the gain on such a source better than the mean gain of the
    others: what probes of the embeddings say did not.

    Raises:
        ValueError: no labelled row, or more of them than rows.
    """
    if not 1 <= labelled <= rows:
        raise ValueError(f"expected 1 to {rows} labelled rows of {rows}, got {labelled}")
    gain = INTERCEPT + PER_DOUBLING * math.log2(rows / labelled)
    return Expected(gain, gain + SPREAD[0], gain + SPREAD[1])
