"""Compare distillation methods on many data sets under one protocol.

Every method of a setting has the same encoders, optimiser, number of epochs and number of trials.
The student alone searches its learning rate; every method takes over what it found and searches
the strength of its loss. Epoch and trial are chosen by macro-F1 on validation and reported on test.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import tyro
from protocol import ALONE
from suite_methods import create_losses
from suite_report import Suite, summary, write_runs
from suite_settings import SETTINGS, Setting, chosen_settings
from suite_trial import Place, TeacherTrial, Trial
from suite_workers import AnyTrial, Result, Workers

from xdistill.report import environment, read_json, write_json

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
FACTORS = (1.0, 1 / 3, 3.0)
"""What the search tries: multiples of the learning rate, and of a recommended weight."""


@dataclass(frozen=True)
class SuiteOptions:
    """Compare methods on many data sets; see the fields below. The same command goes on with what
    was interrupted, and tries again what failed."""

    datasets: tuple[str, ...] = tuple(SETTINGS)
    """Settings, or data sets for all their pairs."""
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
    """Folder of all runs, each with a file of its own."""
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
    curves = chosen_settings(options.curve_datasets or options.datasets)
    _check(options, settings, curves)
    find_settings(options.datasets, place)
    seeds = range(options.seeds)
    done: dict[AnyTrial, Result] = {}
    with Workers(place, options.processes) as workers:
        done |= workers.run("teachers", teachers(settings, seeds))
        done |= workers.run("search, student alone", searches(settings, (ALONE,), seeds, done))
        done |= workers.run("search", searches(settings, options.methods, seeds, done))
        names = (ALONE, *options.methods)
        chosen = dict(_chosen(settings, names, seeds, done))
        done |= workers.run("chosen", chosen.values())
        along = tuple(_curves(options, curves, seeds, chosen))
        done |= workers.run("curves", along)
    found = Suite(settings, names, tuple(seeds), chosen, along, done)
    target = options.results or options.out
    target.mkdir(parents=True, exist_ok=True)
    results = {**environment(), "processes": options.processes, **summary(found)}
    write_json(target / "suite.json", results)
    write_runs(target / "suite_runs.csv", done.values())
    return results


def _check(
    options: SuiteOptions, settings: Mapping[str, Setting], curves: Mapping[str, Setting]
) -> None:
    for method in (*options.methods, *options.curve_methods):
        create_losses(method, ("teacher",), 1.0, 1)
    if set(curves) - set(settings) or set(options.curve_methods) - set(options.methods):
        raise ValueError(
            "curves need --curve-datasets and --curve-methods that are among --datasets and "
            "--methods, whose learning rate they take over"
        )
    if options.seeds < 1 or options.processes < 1:
        raise ValueError(
            f"seeds and processes are at least 1, got {options.seeds} and {options.processes}"
        )
    for name, values in (
        ("label_fractions", options.label_fractions),
        ("missing", options.missing),
    ):
        if not all(0 < value < 1 for value in values):
            raise ValueError(f"{name} lie between 0 and 1, without these, got {values}")


def find_settings(names: tuple[str, ...], place: Place) -> dict[str, Setting]:
    """The settings of these names; how they are run is noted beside their runs.

    Raises:
        ValueError: an unknown name, or a folder in which a setting was run otherwise.
    """
    settings = chosen_settings(names)
    for name, setting in settings.items():
        now = {
            one.name: getattr(setting, one.name) for one in fields(setting) if one.name != "load"
        }
        path = place.out / name / "setting.json"
        if path.exists() and read_json(path) != now:
            raise ValueError(
                f"the runs in {path.parent} were made under other settings; delete that folder or "
                "choose another --out"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, now)
    return settings


def teachers(settings: Mapping[str, Setting], seeds: range) -> Iterator[TeacherTrial]:
    """The teachers of every setting and seed."""
    for name, setting in settings.items():
        for seed in seeds:
            for modality in setting.teachers:
                yield TeacherTrial(name, modality, seed)


def search(name: str, method: str, seed: int, lr_factor: float) -> list[Trial]:
    """What a method tries with a seed."""
    if method == ALONE:
        return [Trial(name, ALONE, seed, lr_factor=factor) for factor in FACTORS]
    return [Trial(name, method, seed, lr_factor, strength=factor) for factor in FACTORS]


def searches(
    settings: Mapping[str, Setting],
    methods: tuple[str, ...],
    seeds: range,
    done: Mapping[AnyTrial, Result],
) -> Iterator[Trial]:
    """The trials of all methods; those of the student alone have to be done before the others."""
    for name, setting in settings.items():
        for seed in seeds if setting.own_splits else seeds[:1]:
            lr_factor = 1.0
            if methods != (ALONE,):
                alone = best(search(name, ALONE, seed, 1.0), done)
                if alone is None:  # every run of it failed, as the methods' would
                    continue
                lr_factor = alone.lr_factor
            for method in methods:
                yield from search(name, method, seed, lr_factor)


def _chosen(
    settings: Mapping[str, Setting],
    methods: tuple[str, ...],
    seeds: range,
    done: Mapping[AnyTrial, Result],
) -> Iterator[tuple[tuple[str, str, int], Trial]]:
    """The run of each setting, method and seed that is reported."""
    for name, setting in settings.items():
        for seed in seeds:
            searched = seed if setting.own_splits else seeds[0]
            alone = best(search(name, ALONE, searched, 1.0), done)
            if alone is None:
                continue
            for method in methods:
                found = best(search(name, method, searched, alone.lr_factor), done)
                if found is not None:
                    yield (name, method, seed), replace(found, seed=seed)


def best(trials: list[Trial], done: Mapping[AnyTrial, Result]) -> Trial | None:
    """The trial with the highest macro-F1 on validation, of equal ones the first; None if none."""
    ended = [trial for trial in trials if trial in done and "error" not in done[trial]]
    return max(ended, key=lambda trial: done[trial]["val"]["macro_f1"], default=None)


def _curves(
    options: SuiteOptions,
    settings: Mapping[str, Setting],
    seeds: range,
    chosen: Mapping[tuple[str, str, int], Trial],
) -> Iterator[Trial]:
    if not options.label_fractions and not options.missing:
        return
    fractions = [(1.0, 0.0), *((one, 0.0) for one in options.label_fractions)]
    fractions += [(1.0, one) for one in options.missing]
    for name in settings:
        for seed in seeds:
            if (name, ALONE, seed) not in chosen:
                continue
            lr_factor = chosen[name, ALONE, seed].lr_factor
            for method in (ALONE, *(options.curve_methods or options.methods)):
                for labels, missing in fractions:
                    if method == ALONE and missing:
                        continue  # it looks at no teacher
                    yield Trial(name, method, seed, lr_factor, labels=labels, missing=missing)


def main(options: SuiteOptions) -> None:
    """Run the suite; a user's mistake is one sentence."""
    try:
        results = run_suite(options)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(results["text"])
    print(f"\nwritten: {(options.results or options.out) / 'suite.json'}")
    if results["failures"]:
        sys.exit(f"{len(results['failures'])} runs failed; suite.json says why")


if __name__ == "__main__":
    main(tyro.cli(SuiteOptions))
