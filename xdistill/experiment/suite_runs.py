"""What the suite has run, and how runs are picked from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdistill.experiment.case import Case
from xdistill.experiment.run_folder import Result
from xdistill.experiment.search import Chosen, Done, Kind, Plan
from xdistill.experiment.trial import AnyTrial, Trial


@dataclass(frozen=True)
class Suite:
    """What was run.

    Attributes:
        plan: settings, methods, seeds and cases.
        baselines: the methods that others are compared with, beside the student alone.
        chosen: the trial that is reported, by setting, case, method and seed.
        bound: the student alone with all labels, by setting and seed.
        curves: the trials of each curve, by setting, case and kind.
        twice: chosen trials and bounds, with twice the epochs.
        done: what every trial left.
    """

    plan: Plan
    baselines: tuple[str, ...]
    chosen: Chosen
    bound: Mapping[tuple[str, int], Trial]
    curves: Mapping[tuple[str, Case, Kind], Sequence[Trial]]
    twice: tuple[Trial, ...]
    done: Done

    def results(self, trials: Sequence[AnyTrial | None]) -> list[Result] | None:
        """The results of all these trials; None if one is missing or failed."""
        found = [self.done.get(trial) for trial in trials if trial is not None]
        results = [one for one in found if isinstance(one, Result)]
        return results if len(results) == len(trials) else None
