"""How far a student's statistics lie from the scorer's, on sleepers it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

FEW = 10
"""Fewer sleepers than these tell the limits of agreement only roughly."""
TWO_SIDED_95 = 1.96


class HeldOutSleeper(NamedTuple):
    """One sleeper who was held out from training.

    Attributes:
        name: of the sleeper.
        epochs: compared.
        accuracy: share of epochs staged as the scorer did.
        macro_f1: mean over stages.
        kappa: Cohen's.
        found: statistics by name (as in `SleepStatistics`) from the student's stages.
        reference: the same from the scorer's.
    """

    name: str
    epochs: int
    accuracy: float
    macro_f1: float
    kappa: float
    found: Mapping[str, float]
    reference: Mapping[str, float]


class Limits(NamedTuple):
    """Bias and limits of agreement (Bland and Altman, Lancet 1986).

    Attributes:
        bias: mean of student less scorer; NaN without a sleeper.
        low: bias - 1.96 standard deviations; NaN for fewer than two sleepers.
        high: bias + 1.96 standard deviations.
        absolute: mean absolute difference.
        sleepers: how many have the statistic in both hypnograms.
    """

    bias: float
    low: float
    high: float
    absolute: float
    sleepers: int


def differences_of(sleepers: Sequence[HeldOutSleeper], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of both and student less scorer of one statistic, where both have it: [n] and [n]."""
    pairs = [
        (one.found[name], one.reference[name])
        for one in sleepers
        if name in one.found and name in one.reference
    ]
    both = np.array(pairs, dtype=float).reshape(-1, 2)
    both = both[np.isfinite(both).all(axis=1)]
    return both.mean(axis=1), both[:, 0] - both[:, 1]


def limits_of_agreement(sleepers: Sequence[HeldOutSleeper], name: str) -> Limits:
    """Bias and limits of agreement of one statistic over the sleepers held out."""
    _, apart = differences_of(sleepers, name)
    nan = float("nan")
    if not len(apart):
        return Limits(nan, nan, nan, nan, 0)
    bias, absolute = float(apart.mean()), float(np.abs(apart).mean())
    if len(apart) < 2:
        return Limits(bias, nan, nan, absolute, len(apart))
    half = TWO_SIDED_95 * float(apart.std(ddof=1))
    return Limits(bias, bias - half, bias + half, absolute, len(apart))


def held_out_sleepers(held_out: Mapping[str, Any]) -> tuple[HeldOutSleeper, ...]:
    """The sleepers held out, from their entry in a run.

    Raises:
        ValueError: an entry that is none.
    """
    names = HeldOutSleeper._fields
    try:
        return tuple(
            HeldOutSleeper(**{name: with_nan(one[name]) for name in names})
            for one in held_out.get("sleepers", ())
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"the scores of held-out sleepers are not what `xdistill train` writes "
            f"({type(error).__name__}: {error}); train the student again with this version"
        ) from error


def with_nan(value: Any) -> Any:
    """A number that JSON could not hold (NaN) comes back as None."""
    if isinstance(value, Mapping):
        return {key: with_nan(one) for key, one in value.items()}
    return float("nan") if value is None else value
