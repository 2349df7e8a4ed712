"""Compare distillation methods on many data sets under one protocol.

Every method of a setting has the same encoders, optimiser, number of epochs and number of trials,
and sees the same pairs, few of which have labels. Cases differ in what the teacher saw. The student
alone searches its learning rate; every method takes over what it found and searches the strength of
its loss. Epoch and trial are chosen by macro-F1 on validation and reported on test.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from xdistill.experiment.case import CASES, Case, check_case
from xdistill.experiment.methods import ALONE, BASELINES, check_method
from xdistill.experiment.run_folder import Outcome
from xdistill.experiment.search import (
    Curves,
    Plan,
    Settings,
    bounds,
    chosen_trials,
    curves,
    searches,
    teachers,
    twice,
)
from xdistill.experiment.settings import OURS, chosen_settings
from xdistill.experiment.suite_runs import Suite
from xdistill.experiment.suite_tables import setting_table
from xdistill.experiment.summary import summary, write_runs
from xdistill.experiment.trial import AnyTrial
from xdistill.experiment.workers import Place, Workers
from xdistill.registry import datasets
from xdistill.report import environment, write_json

METHODS = (
    "kd",
    "dist",
    "infonce",
    "ccl",
    "sacd",
    "dist+sacd/bank_0",
    "recipe",
)


GENERATED = ("s3ve",)
"""Settings that make their data although the data set of that name reads files, too."""


@dataclass(frozen=True)
class SuiteOptions:
    """Compare methods on many data sets; see the fields below.

    The same command continues what was interrupted, and tries again what failed.
    """

    datasets: tuple[str, ...] = tuple(OURS)
    """Settings, plugins' included, or data sets for all their settings."""
    methods: tuple[str, ...] = METHODS
    """Losses beside the student alone and the baselines; several at once as "kd+sacd"."""
    baselines: tuple[str, ...] = BASELINES
    """What methods are compared with, beside the student alone: the best of these."""
    cases: tuple[Case, ...] = CASES
    """What teachers saw of the rows that they teach; methods search in the first one."""
    teacher_share: float = 0.5
    """Share of the training subjects set aside for the teacher of the transfer case, where a
    setting has no other corpus for it; in every case students see the other subjects alone."""
    labels: float | None = None
    """Share of the training labels that students see; each setting's own when left out, which is
    0.02 for most."""
    search: bool = True
    """Let every method search the strength of its loss; if not, it has its recommended weight."""
    seeds: int = 5
    """Repetitions; where a data set has folds, seed k tests fold k."""
    data_root: Path = Path("data")
    """Folder that holds a folder for each data set."""
    label_fractions: tuple[float, ...] = ()
    """Runs with other shares of labels, as in 0.01 0.05 0.1 1."""
    label_groups: tuple[int, ...] = ()
    """Runs with the labels of so many whole subjects, as in 1 2 4, where a data set has as many."""
    missing: tuple[float, ...] = ()
    """Runs in which this share of the rows has no teacher modality, as in 0.3 0.6 0.9, in the first
    of --curve-cases."""
    curve_datasets: tuple[str, ...] = ()
    """Where to run these three; all of --datasets when left out."""
    curve_methods: tuple[str, ...] = ()
    """Which methods, beside the student alone and the baselines; all of --methods when left out."""
    curve_cases: tuple[Case, ...] = ("transfer", "cross_fitted")
    """In which of --cases."""
    twice: bool = False
    """Run the student alone with all labels, the labelled rows alone and dist with twice the
    epochs, too: what longer trainings would change."""
    processes: int = os.cpu_count() or 1
    """Processes at a time, each with one thread."""
    out: Path = Path("runs/suite")
    """Folder of all runs, with a folder for each setting."""
    results: Path | None = None
    """Where suite.json and suite_runs.csv go; into --out when left out."""


def run_suite(options: SuiteOptions) -> dict[str, Any]:
    """Run all that has not been run, write suite.json and suite_runs.csv, and return the former.

    Raises:
        ValueError: an unknown data set or method, a number out of range, a case that a setting has
            no teacher for, or a folder whose runs were made under other settings or with other
            data.
    """
    place = Place(options.data_root.expanduser(), options.out, options.teacher_share)
    plan = _plan(options, place)
    along = _curves(options, plan)
    _check(options, plan, along)
    for name in plan.settings:
        place.experiment(name).check_folder()
        place.experiment(name).check_data()
    if along.groups:
        present = {name: _groups(place, name, plan) for name in along.settings}
        along = replace(along, present=present)
    done: dict[AnyTrial, Outcome] = {}
    with Workers(place, options.processes) as workers:
        # In-sample before cross-fitted, which takes its teacher over.
        for case in sorted(plan.cases, key=CASES.index, reverse=True):
            done |= workers.run(f"teachers, {case}", teachers(plan, case))
        done |= workers.run("search, student alone", searches(plan, (ALONE,), done))
        done |= workers.run("search", searches(plan, plan.methods[1:], done))
        chosen = chosen_trials(plan, done)
        done |= workers.run("chosen", chosen.values())
        bound = bounds(plan, chosen)
        done |= workers.run("all labels", bound.values())
        on_curves = curves(along, chosen)
        done |= workers.run("curves", chain(*on_curves.values()))
        longer = twice(plan, chosen, bound) if options.twice else []
        done |= workers.run("twice the epochs", longer)
    found = Suite(plan, options.baselines, chosen, bound, on_curves, tuple(longer), done)
    target = options.results or options.out
    target.mkdir(parents=True, exist_ok=True)
    results = {**environment(), "processes": options.processes, **summary(found)}
    write_json(target / "suite.json", results)
    write_runs(target / "suite_runs.csv", done)
    return results


def _plan(options: SuiteOptions, place: Place) -> Plan:
    return Plan(
        {name: place.setting(name) for name in chosen_settings(options.datasets)},
        tuple(dict.fromkeys((ALONE, *options.baselines, *options.methods))),
        tuple(range(options.seeds)),
        tuple(dict.fromkeys(options.cases)),
        options.labels,
        options.search,
    )


def _curves(options: SuiteOptions, plan: Plan) -> Curves:
    methods = options.curve_methods or options.methods
    return Curves(
        tuple(chosen_settings(options.curve_datasets or options.datasets)),
        tuple(dict.fromkeys((ALONE, *options.baselines, *methods))),
        tuple(case for case in plan.cases if case in options.curve_cases),
        options.label_fractions,
        options.label_groups,
        options.missing,
    )


def _groups(place: Place, name: str, plan: Plan) -> int:
    """How many groups with labels the pairs of every seed have; 0 where each row is its own."""
    experiment = place.experiment(name)
    try:
        pairs = [experiment.splits(seed).train for seed in plan.seeds]
    except Exception:  # the trials of this setting fail with the same error, which is recorded
        return 0
    if any(len(one.group.unique()) == len(one) for one in pairs):
        return 0
    return min(len(one.group[one.labelled].unique()) for one in pairs)


def _reads_files(setting: str) -> bool:
    """Whether the data set of a setting has a card that asks for files."""
    name = setting.partition("-")[0]
    card = getattr(datasets.get(name), "card", None) if name in datasets.list() else None
    return bool(getattr(card, "files", ()))


def _check(options: SuiteOptions, plan: Plan, along: Curves) -> None:
    check_methods(plan.methods[1:], plan.settings)
    for setting in plan.settings.values():
        for case in plan.cases:
            check_case(case, setting)
    if set(along.settings) - set(plan.settings) or set(along.methods) - set(plan.methods):
        raise ValueError(
            "--curve-datasets and --curve-methods must be among --datasets and --methods, whose "
            "learning rates and strengths the curves take over"
        )
    for name, given in (("cases", plan.cases), ("curve-cases", along.cases)):
        on_curves = options.label_fractions or options.label_groups or options.missing
        if not given and (name == "cases" or on_curves):
            raise ValueError(f"--{name} names none of the cases {', '.join(plan.cases or CASES)}")
    if options.seeds < 1 or options.processes < 1:
        raise ValueError(
            f"--seeds and --processes must be at least 1, got {options.seeds} and "
            f"{options.processes}"
        )
    shares = (*options.label_fractions, *(() if options.labels is None else (options.labels,)))
    if not all(0 < share <= 1 for share in shares):
        raise ValueError(
            f"--labels and --label-fractions must be above 0 and at most 1, got {shares}"
        )
    if not all(0 < share < 1 for share in options.missing):
        raise ValueError(
            f"--missing must lie between 0 and 1, both excluded, got {options.missing}"
        )
    if not all(one >= 1 for one in options.label_groups):
        raise ValueError(f"--label-groups must be at least 1 each, got {options.label_groups}")
    reading = [name for name in plan.settings if name not in GENERATED and _reads_files(name)]
    if reading and not options.data_root.expanduser().is_dir():
        raise ValueError(
            f"--data-root {options.data_root} is no folder, but {len(reading)} settings "
            f"({reading[0]}, …) read files below it; `xdistill datasets` says what they need"
        )


def check_methods(methods: Sequence[str], settings: Settings) -> None:
    """Make every loss once, so that a wrong name is found before any training.

    Raises:
        ValueError: an unknown method, or one that a setting has no layers for.
    """
    for setting in settings.values():
        for method in methods:
            check_method(method, setting)


def main(options: SuiteOptions) -> None:
    """Run the suite and print its tables; exit with a message where runs failed."""
    results = run_suite(options)
    for name in results["settings"]:
        print(f"\n{name}: test set, per cent\n\n{setting_table(results, name)}")
    print(f"\nwritten: {(options.results or options.out) / 'suite.json'}")
    if results["failures"]:
        sys.exit(f"{len(results['failures'])} runs failed; suite.json says why")
