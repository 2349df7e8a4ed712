"""What the runs of the suite show: means, differences, ranks, curves, and a list of all runs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xdistill.experiment.methods import ALONE
from xdistill.experiment.run_folder import Failure, Outcome, Result
from xdistill.experiment.search import Chosen, Done, Settings
from xdistill.experiment.trial import AnyTrial, TeacherTrial, Trial
from xdistill.report import SCALARS, Interval, interval, paired_difference, paired_interval

MEASURE = "macro_f1"
COLUMNS = ("setting", "method", "modality", "seed", "lr_factor", "strength", "labels", "missing")


@dataclass(frozen=True)
class Suite:
    """What was run.

    Attributes:
        settings: by name.
        methods: names of the methods, the student alone first.
        seeds: of every method.
        chosen: the trial that is reported, by setting, method and seed.
        curves: the trials with fewer labels or teachers.
        done: what every trial left.
    """

    settings: Settings
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    chosen: Chosen
    curves: tuple[Trial, ...]
    done: Done


def summary(suite: Suite) -> dict[str, Any]:
    """What suite.json holds besides the environment."""
    settings = {name: _setting(suite, name) for name in suite.settings}
    failures = [
        {
            "setting": trial.setting,
            "method": trial.method,
            "seed": trial.seed,
            "error": outcome.error,
        }
        for trial, outcome in suite.done.items()
        if isinstance(outcome, Failure)
    ]
    return {
        "measure": MEASURE,
        "seeds": list(suite.seeds),
        "runs": len(suite.done),
        "hours": sum(one.seconds or 0 for one in suite.done.values()) / 3600,
        "settings": settings,
        "ranks": ranks(settings, suite.methods),
        "curves": _curves(suite),
        "failures": failures,
        "text": "\n\n".join(_text(name, one) for name, one in settings.items()),
    }


def ranks(settings: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """Average ranks on the settings in which every method has a result.

    With the p-value of Friedman's test that all methods are equal, and the critical difference of
    Nemenyi's test: average ranks that differ by less do not differ at 5 % (Demšar, JMLR 2006).
    """
    whole = [
        name
        for name, one in settings.items()
        if all(method in one["methods"] for method in methods)
    ]
    if len(whole) < 2 or len(methods) < 3:
        return {"settings": whole}
    from scipy import stats

    score = np.array(
        [[settings[name]["methods"][method][MEASURE] for method in methods] for name in whole]
    )
    each = stats.rankdata(-score, axis=1)
    count = len(methods)
    quantile = float(stats.studentized_range.ppf(0.95, count, np.inf)) / 2**0.5
    return {
        "settings": whole,
        "mean": dict(zip(methods, each.mean(axis=0).tolist(), strict=True)),
        "each": dict(zip(methods, each.T.tolist(), strict=True)),
        "friedman_p": float(stats.friedmanchisquare(*score.T).pvalue),
        "critical_difference": quantile * (count * (count + 1) / (6 * len(whole))) ** 0.5,
    }


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
    """The teachers and every method of a setting, those that finished with all seeds."""
    teachers: dict[str, Any] = {}
    for modality in suite.settings[name].teachers:
        runs = _results(suite, [TeacherTrial(name, modality, seed) for seed in suite.seeds])
        if runs is not None:
            teachers[modality] = _entry(runs)
    methods: dict[str, Any] = {}
    alone: list[Result] | None = None
    for method in suite.methods:
        trials = [suite.chosen.get((name, method, seed)) for seed in suite.seeds]
        runs = _results(suite, trials)
        if runs is None:
            continue
        methods[method] = _entry(runs)
        methods[method]["lr_factor"] = [trial.lr_factor for trial in trials if trial]
        methods[method]["strength"] = [trial.strength for trial in trials if trial]
        if method == ALONE:
            alone = runs
        elif alone is not None:
            methods[method]["difference"] = paired_difference(
                [run.test for run in runs], [run.test for run in alone]
            )
    return {"teachers": teachers, "methods": methods}


def _results(suite: Suite, trials: Sequence[AnyTrial | None]) -> list[Result] | None:
    """The results of all these trials; None if one is missing or failed."""
    found = [suite.done.get(trial) for trial in trials if trial is not None]
    results = [one for one in found if isinstance(one, Result)]
    return results if len(results) == len(trials) else None


def _entry(runs: Sequence[Result]) -> dict[str, Any]:
    values = {name: [getattr(run.test, name) for run in runs] for name in SCALARS}
    return {
        **{name: float(np.mean(value)) for name, value in values.items()},
        "confidence_95": {name: interval(value).half_width for name, value in values.items()},
        "test": values,
        "val": {name: [getattr(run.val, name) for run in runs] for name in SCALARS},
        "seconds": round(float(np.mean([run.seconds for run in runs])), 1),
    }


def _curves(suite: Suite) -> dict[str, Any]:
    """The points of each curve: setting → "labels" or "missing" → method → share.

    A point has a mean over seeds with its interval, and the paired difference to the student alone
    with as many labels.
    """
    values: dict[tuple[str, str, str, float], dict[int, float]] = {}
    for trial in dict.fromkeys(suite.curves):
        outcome = suite.done[trial]
        if isinstance(outcome, Failure):
            continue
        value = getattr(outcome.test, MEASURE)
        if trial.missing == 0:
            values.setdefault((trial.setting, "labels", trial.method, trial.labels), {})[
                trial.seed
            ] = value
        if trial.labels == 1:
            values.setdefault((trial.setting, "missing", trial.method, trial.missing), {})[
                trial.seed
            ] = value
    found: dict[str, Any] = {}
    for (setting, kind, method, share), runs in sorted(values.items(), key=lambda item: item[0][3]):
        alone = values.get((setting, "labels", ALONE, share if kind == "labels" else 1.0), {})
        point: dict[str, Any] = asdict(interval(list(runs.values())))
        if method != ALONE and runs.keys() == alone.keys():
            gaps = [runs[seed] - alone[seed] for seed in runs]
            point["difference"] = paired_interval(gaps)
        methods = found.setdefault(setting, {}).setdefault(kind, {})
        methods.setdefault(method, {})[f"{share:g}"] = point
    return {
        name: {
            kind: {method: kinds[kind][method] for method in suite.methods if method in kinds[kind]}
            for kind in ("labels", "missing")
        }
        for name, kinds in ((name, found[name]) for name in suite.settings if name in found)
    }


def _text(name: str, setting: Mapping[str, Any]) -> str:
    """A table of a setting for the terminal, in per cent, best first."""
    lines = [f"{name}: test set, macro-F1 in per cent, difference to the student alone"]
    for modality, one in setting["teachers"].items():
        lines.append(f"  {'teacher ' + modality:<28} {_mean(one)}")
    methods = sorted(setting["methods"].items(), key=lambda item: -item[1][MEASURE])
    for method, one in methods:
        lines.append(f"  {method:<28} {_mean(one):<14} {difference(one)}")
    return "\n".join(lines)


def _mean(entry: Mapping[str, Any]) -> str:
    return str(Interval(entry[MEASURE], entry["confidence_95"][MEASURE]))


def difference(entry: Mapping[str, Any]) -> str:
    """The paired difference in macro-F1 with sign, interval and p-value."""
    if "difference" not in entry:
        return ""
    one = entry["difference"][MEASURE]
    if one["half_width"] is None:
        return f"{100 * one['mean']:+.1f}"
    return f"{100 * one['mean']:+.1f} ± {100 * one['half_width']:.1f} (p = {one['p_value']:.3f})"
