"""Results of two networks compared, seed by seed, and the best of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xdistill.experiment.run_folder import Result
from xdistill.report import paired_difference


def best_of(mean: Mapping[str, float], names: Sequence[str]) -> str | None:
    """The name with the highest mean, of those that have one."""
    return max((name for name in names if name in mean), key=mean.__getitem__, default=None)


def gaps(runs: Sequence[Result], others: Sequence[Result]) -> list[float]:
    """The difference in macro-F1 on test, seed by seed."""
    return [a.test.macro_f1 - b.test.macro_f1 for a, b in zip(runs, others, strict=True)]


def difference_on_test(runs: Sequence[Result], others: Sequence[Result]) -> dict[str, Any]:
    """The paired difference in every score on test."""
    return paired_difference([one.test for one in runs], [one.test for one in others])
