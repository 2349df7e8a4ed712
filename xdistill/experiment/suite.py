"""Compare distillation methods on many data sets under one protocol.

Every method of a setting has the same encoders, optimiser, number of epochs and number of trials.
The student alone searches its learning rate; every method takes over what it found and searches
the strength of its loss. Epoch and trial are chosen by macro-F1 on validation and reported on test.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdistill.experiment.methods import ALONE, check_method
from xdistill.experiment.run_folder import Outcome
from xdistill.experiment.search import (
    Settings,
    chosen_trials,
    curves,
    searches,
    teachers,
)
from xdistill.experiment.settings import OURS, chosen_settings
from xdistill.experiment.summary import Suite, summary, write_runs
from xdistill.experiment.trial import AnyTrial
from xdistill.experiment.workers import Place, Workers
from xdistill.report import environment, write_json

METHODS = (
    "kd",
    "dkd",
    "dist",
    "fitnet",
    "rkd",
    "sp",
    "pkt",
    "crd",
    "infonce",
    "supcon",
    "ccl",
    "c2kd",
    "sacd",
    "dist+sacd/bank_0",
)


@dataclass(frozen=True)
class SuiteOptions:
    """Compare methods on many data sets; see the fields below.

    The same command continues what was interrupted, and tries again what failed.
    """

    datasets: tuple[str, ...] = tuple(OURS)
    """Settings, plugins' included, or data sets for all their settings."""
    methods: tuple[str, ...] = METHODS
    """Losses beside the student alone; several at once as "kd+sacd"."""
    seeds: int = 5
    """Repetitions; where a data set has folds, seed k tests fold k."""
    data_root: Path = Path("data")
    """Folder that holds a folder for each data set."""
    label_fractions: tuple[float, ...] = ()
    """Runs with fewer labels, as in 0.01 0.05 0.1, at recommended weights."""
    missing: tuple[float, ...] = ()
    """Runs in which this share of the rows has no teacher modality, as in 0.3 0.6 0.9."""
    curve_datasets: tuple[str, ...] = ()
    """Where to run these two; all of --datasets when left out."""
    curve_methods: tuple[str, ...] = ()
    """Which methods; all of --methods when left out."""
    processes: int = os.cpu_count() or 1
    """Processes at a time, each with one thread."""
    out: Path = Path("runs/suite")
    """Folder of all runs, with a folder for each setting."""
    results: Path | None = None
    """Where suite.json and suite_runs.csv go; into --out when left out."""


def run_suite(options: SuiteOptions) -> dict[str, Any]:
    """Run all that has not been run, write suite.json and suite_runs.csv, and return the former.

    Raises:
        ValueError: an unknown data set or method, a number out of range, or a folder whose runs
            were made under other settings.
    """
    place = Place(options.data_root.expanduser(), options.out)
    settings = chosen_settings(options.datasets)
    along = chosen_settings(options.curve_datasets or options.datasets)
    _check(options, settings, along)
    for name in settings:
        place.experiment(name).check_folder()
    seeds, names = tuple(range(options.seeds)), (ALONE, *options.methods)
    done: dict[AnyTrial, Outcome] = {}
    with Workers(place, options.processes) as workers:
        done |= workers.run("teachers", teachers(settings, seeds))
        done |= workers.run("search, student alone", searches(settings, (ALONE,), seeds, done))
        done |= workers.run("search", searches(settings, options.methods, seeds, done))
        chosen = chosen_trials(settings, names, seeds, done)
        done |= workers.run("chosen", chosen.values())
        on_curves = tuple(
            curves(
                along,
                options.curve_methods or options.methods,
                seeds,
                chosen,
                options.label_fractions,
                options.missing,
            )
        )
        done |= workers.run("curves", on_curves)
    found = Suite(settings, names, seeds, chosen, on_curves, done)
    target = options.results or options.out
    target.mkdir(parents=True, exist_ok=True)
    results = {**environment(), "processes": options.processes, **summary(found)}
    write_json(target / "suite.json", results)
    write_runs(target / "suite_runs.csv", done)
    return results


def _check(options: SuiteOptions, settings: Settings, along: Settings) -> None:
    check_methods((*options.methods, *options.curve_methods), settings)
    if set(along) - set(settings) or set(options.curve_methods) - set(options.methods):
        raise ValueError(
            "--curve-datasets and --curve-methods must be among --datasets and --methods, whose "
            "learning rates the curves take over"
        )
    if options.seeds < 1 or options.processes < 1:
        raise ValueError(
            f"--seeds and --processes must be at least 1, got {options.seeds} and "
            f"{options.processes}"
        )
    for name, shares in (
        ("label-fractions", options.label_fractions),
        ("missing", options.missing),
    ):
        if not all(0 < share < 1 for share in shares):
            raise ValueError(f"--{name} must lie between 0 and 1, both excluded, got {shares}")


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
    print(results["text"])
    print(f"\nwritten: {(options.results or options.out) / 'suite.json'}")
    if results["failures"]:
        sys.exit(f"{len(results['failures'])} runs failed; suite.json says why")
