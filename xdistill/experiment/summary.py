"""What the runs of the suite show: means, differences, ranks, curves, and a list of all runs."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xdistill.experiment.case import Case
from xdistill.experiment.compare import best_of, difference_on_test, gaps
from xdistill.experiment.curve_summary import curve_points, twice_the_epochs
from xdistill.experiment.methods import ALONE
from xdistill.experiment.run_folder import Failure, Outcome, Result
from xdistill.experiment.search import Done
from xdistill.experiment.suite_runs import Suite
from xdistill.experiment.trial import TeacherTrial
from xdistill.extras import needs_extra
from xdistill.report import SCALARS, interval, is_clear, paired_interval

MEASURE = "macro_f1"
COLUMNS = (
    *("setting", "method", "modality", "case", "seed", "lr_factor", "strength", "labels"),
    *("groups", "missing", "epochs", "targets"),
)
ROOM_BESIDE = "dist"
"""The method whose distance to the bound says how much room a setting leaves."""


def summary(suite: Suite) -> dict[str, Any]:
    """What suite.json holds besides the environment."""
    plan = suite.plan
    settings = {name: _setting(suite, name) for name in plan.settings}
    failures = [
        {
            "setting": trial.setting,
            "method": trial.method,
            "case": trial.case,
            "seed": trial.seed,
            "error": outcome.error,
        }
        for trial, outcome in suite.done.items()
        if isinstance(outcome, Failure)
    ]
    return {
        "measure": MEASURE,
        "seeds": list(plan.seeds),
        "cases": list(plan.cases),
        "baselines": list(suite.baselines),
        "runs": len(suite.done),
        "hours": sum(one.seconds or 0 for one in suite.done.values()) / 3600,
        "settings": settings,
        "ranks": {case: ranks(settings, case, plan.methods) for case in plan.cases},
        "counts": {case: _counts(settings, case, plan.methods) for case in plan.cases},
        "curves": curve_points(suite),
        "failures": failures,
    }


def ranks(settings: Mapping[str, Any], case: Case, methods: Sequence[str]) -> dict[str, Any]:
    """Average ranks in a case, of the methods that have a result in every setting.

    A setting in which nothing finished does not count. With the p-value of Friedman's test that all
    methods are equal, and the critical difference of Nemenyi's test: average ranks that differ by
    less do not differ at 5 % (Demšar, JMLR 2006).
    """
    tables = {name: one["methods"][case] for name, one in settings.items() if one["methods"][case]}
    whole = [method for method in methods if all(method in one for one in tables.values())]
    left_out = [method for method in methods if method not in whole]
    if len(tables) < 2 or len(whole) < 3:
        return {"settings": list(tables), "left_out": left_out}
    with needs_extra("train", "the ranks of the suite"):
        from scipy import stats

    score = np.array([[one[method][MEASURE] for method in whole] for one in tables.values()])
    each = stats.rankdata(-score, axis=1)
    count = len(whole)
    quantile = float(stats.studentized_range.ppf(0.95, count, np.inf)) / 2**0.5
    return {
        "settings": list(tables),
        "left_out": left_out,
        "mean": dict(zip(whole, each.mean(axis=0).tolist(), strict=True)),
        "each": dict(zip(whole, each.T.tolist(), strict=True)),
        "friedman_p": float(stats.friedmanchisquare(*score.T).pvalue),
        "critical_difference": quantile * (count * (count + 1) / (6 * len(tables))) ** 0.5,
    }


def _counts(settings: Mapping[str, Any], case: Case, methods: Sequence[str]) -> dict[str, Any]:
    """In how many settings a method is clearly better or worse than student and best baseline."""
    found: dict[str, Any] = {}
    for method in methods:
        entries = [one["methods"][case].get(method, {}) for one in settings.values()]
        for key in ("difference", "difference_to_baseline"):
            found_gaps = [entry[key][MEASURE] for entry in entries if key in entry]
            clear = [gap["mean"] for gap in found_gaps if is_clear(gap)]
            found.setdefault(method, {})[key] = {
                "settings": len(found_gaps),
                "better": sum(gap > 0 for gap in clear),
                "worse": sum(gap < 0 for gap in clear),
            }
    return found


def write_runs(path: Path, done: Done) -> None:
    """A line for every run: what it was, its scores on validation and test, its time."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        scores = [f"{part}_{name}" for part in ("val", "test") for name in SCALARS]
        lines.writerow([*COLUMNS, *scores, "best_epoch", "seconds", "error"])
        for trial, outcome in done.items():
            what = [_short(getattr(trial, column, "")) for column in COLUMNS]
            lines.writerow([*what, *_cells(outcome)])


def _cells(outcome: Outcome) -> list[Any]:
    """The scores, the epoch, the time and the error of one run."""
    if isinstance(outcome, Failure):
        return [*[""] * (2 * len(SCALARS) + 1), outcome.seconds, outcome.error]
    parts = (outcome.val, outcome.test)
    scores = [f"{getattr(part, name):.5f}" for part in parts for name in SCALARS]
    return [*scores, outcome.best_epoch, outcome.seconds, ""]


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _setting(suite: Suite, name: str) -> dict[str, Any]:
    """The teachers, the bound and, by case, every method that finished with all seeds."""
    plan = suite.plan
    teachers: dict[str, Any] = {modality: {} for modality in plan.settings[name].teachers}
    for modality, found in teachers.items():
        for case in plan.cases:
            trials = [TeacherTrial(name, modality, seed, case=case) for seed in plan.seeds]
            if (runs := suite.results(trials)) is not None:
                found[case] = _entry(runs)
    bound = suite.results([suite.bound.get((name, seed)) for seed in plan.seeds])
    methods, best, room = {}, {}, {}
    for case in plan.cases:
        runs = dict(_finished(suite, name, case))
        methods[case], best[case] = _methods(suite, name, case, runs)
        if bound is not None and ROOM_BESIDE in runs:
            room[case] = paired_interval(gaps(bound, runs[ROOM_BESIDE]))
    return {
        "labels": plan.share(name),
        "teachers": teachers,
        "bound": None if bound is None else _entry(bound),
        "methods": methods,
        "baseline": best,
        "room": room,
        "twice": twice_the_epochs(suite, name),
    }


def _finished(suite: Suite, name: str, case: Case) -> Iterator[tuple[str, list[Result]]]:
    """The methods that have a result for every seed."""
    for method in suite.plan.methods:
        trials = [suite.chosen.get((name, case, method, seed)) for seed in suite.plan.seeds]
        if (runs := suite.results(trials)) is not None:
            yield method, runs


def _methods(
    suite: Suite, name: str, case: Case, runs: Mapping[str, list[Result]]
) -> tuple[dict[str, Any], str | None]:
    """The entry of every method of a setting and case, and which baseline is the best."""
    mean = {method: float(np.mean([one.test.macro_f1 for one in runs[method]])) for method in runs}
    baseline = best_of(mean, suite.baselines)
    entries = {}
    for method, some in runs.items():
        trials = [suite.chosen[name, case, method, seed] for seed in suite.plan.seeds]
        entry = _entry(some)
        entry["lr_factor"] = [trial.lr_factor for trial in trials]
        entry["strength"] = [trial.strength for trial in trials]
        entry["targets"] = [trial.targets for trial in trials]
        if method != ALONE and ALONE in runs:
            entry["difference"] = difference_on_test(some, runs[ALONE])
        if baseline is not None and method != baseline:
            entry["difference_to_baseline"] = difference_on_test(some, runs[baseline])
        entries[method] = entry
    return entries, baseline


def _entry(runs: Sequence[Result]) -> dict[str, Any]:
    values = {name: [getattr(run.test, name) for run in runs] for name in SCALARS}
    return {
        **{name: float(np.mean(value)) for name, value in values.items()},
        "confidence_95": {name: interval(value).half_width for name, value in values.items()},
        "f1_per_class": np.mean([run.test.f1_per_class for run in runs], axis=0).tolist(),
        "test": values,
        "val": {name: [getattr(run.val, name) for run in runs] for name in SCALARS},
        "seconds": round(float(np.mean([run.seconds for run in runs])), 1),
    }
