"""The points of the curves of the suite, and what twice the epochs add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from xdistill.experiment.compare import best_of, gaps
from xdistill.experiment.methods import ALONE, BOUND
from xdistill.experiment.run_folder import Result
from xdistill.experiment.search import Kind
from xdistill.experiment.suite_runs import Suite
from xdistill.experiment.trial import Trial
from xdistill.report import interval, paired_interval


def twice_the_epochs(suite: Suite, name: str) -> dict[str, Any]:
    """By method, the mean with the usual epochs, and what twice as many add."""
    own = [trial for trial in suite.twice if trial.setting == name]
    found = {}
    for method in dict.fromkeys(trial.method for trial in own):
        longer = [trial for trial in own if trial.method == method]
        runs = suite.results(longer)
        once = suite.results([replace(trial, epochs=1.0) for trial in longer])
        if runs is not None and once is not None:
            key = BOUND if method == ALONE else method
            mean = float(np.mean([one.test.macro_f1 for one in once]))
            found[key] = {"once": mean, **paired_interval(gaps(runs, once))}
    return found


def curve_points(suite: Suite) -> dict[str, Any]:
    """The points of each curve: setting → case → kind → method → share, or number of subjects.

    A point has a mean over seeds with its interval, and the paired differences to the student alone
    and to the best baseline at that point. One without a teacher is the same at every share of
    missing teachers.
    """
    found: dict[str, Any] = {}
    for (name, case, kind), trials in suite.curves.items():
        values: dict[float, dict[str, dict[int, float]]] = {}
        for trial in dict.fromkeys(trials):
            if isinstance(outcome := suite.done[trial], Result):
                methods = values.setdefault(_place(trial, kind), {})
                methods.setdefault(trial.method, {})[trial.seed] = outcome.test.macro_f1
        constant = {
            method: runs
            for method, runs in values.get(0.0, {}).items()
            if kind == "missing" and not any(method in values[at] for at in values if at > 0)
        }
        methods = {}
        for at in sorted(values):
            for method, point in _points({**constant, **values[at]}, suite.baselines).items():
                if method in values[at]:
                    methods.setdefault(method, {})[f"{at:g}"] = point
        order = [method for method in suite.plan.methods if method in methods]
        kinds = found.setdefault(name, {}).setdefault(case, {})
        kinds[kind] = {method: methods[method] for method in order}
    return found


def _place(trial: Trial, kind: Kind) -> float:
    """Where a trial lies on a curve."""
    if kind == "subjects":
        return float(trial.groups or 0)
    return trial.labels if kind == "rows" else trial.missing


def _points(values: Mapping[str, Mapping[int, float]], baselines: Sequence[str]) -> dict[str, Any]:
    """The entry of every method at one point, from its values by seed."""
    most = max(len(runs) for runs in values.values())
    mean = {
        method: float(np.mean(list(runs.values())))
        for method, runs in values.items()
        if len(runs) == most  # one with a failed run is no baseline
    }
    baseline = best_of(mean, baselines)
    others = {"difference": ALONE, "difference_to_baseline": baseline}
    points = {}
    for method, runs in values.items():
        point: dict[str, Any] = asdict(interval(list(runs.values())))
        for key, name in others.items():
            other = values.get(name or "", {})
            if method != name and runs.keys() == other.keys():
                point[key] = paired_interval([runs[seed] - other[seed] for seed in runs])
        if "difference_to_baseline" in point:
            point["baseline"] = baseline
        points[method] = point
    return points
