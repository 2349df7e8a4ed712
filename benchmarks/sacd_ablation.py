"""Change parts of SACD, or add other losses to it, and compare on validation of several data sets.

The test parts are not looked at: what is learnt here may become a default.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from protocol import ALONE
from suite import best, find_settings, search, searches, teachers
from suite_methods import COMBINATIONS, PARTS, create_losses
from suite_settings import SETTINGS
from suite_trial import Place, Trial
from suite_workers import AnyTrial, Result, Workers

from xdistill.report import environment, write_json

FOUR = ("mfh_gaussian", "uci_mfeat-fac", "av_digits", "sleep_edf_features-eog")


@dataclass(frozen=True)
class AblationOptions:
    """Compare variants of SACD on validation, each at its own weights, with the student's learning
    rate."""

    study: Literal["parts", "combinations"] = "parts"
    """One part changed at a time, on four settings; or combined with other losses, on all."""
    datasets: tuple[str, ...] = ()
    """Settings of the suite; those of the study when left out."""
    variants: tuple[str, ...] = ()
    """Methods that are compared with sacd as it is by default; those of the study when left out."""
    labels: tuple[float, ...] = (1.0, 0.1)
    """Shares of the training labels that the student sees."""
    seeds: int = 2
    """Repetitions."""
    data_root: Path = Path("data")
    """Folder that holds a folder for each data set."""
    processes: int = os.cpu_count() or 1
    """Processes at a time, each with one thread."""
    out: Path = Path("runs/suite")
    """Folder of all runs; the suite's, whose teachers and student it can use."""
    results: Path | None = None
    """Where sacd_parts.json or sacd_combinations.json goes; into --out when left out."""


def run_ablation(options: AblationOptions) -> dict[str, Any]:
    """Run what has not been run and write sacd_parts.json or sacd_combinations.json.

    Raises:
        ValueError: an unknown setting or variant, or runs made under other settings.
    """
    place = Place(options.data_root.expanduser(), options.out)
    parts = options.study == "parts"
    settings = find_settings(options.datasets or (FOUR if parts else tuple(SETTINGS)), place)
    variants = options.variants or (tuple(PARTS) if parts else COMBINATIONS)
    methods = (ALONE, "sacd", *variants)
    for method in methods[1:]:
        create_losses(method, ("teacher",), 1.0, 1)
    seeds = range(options.seeds)
    done: dict[AnyTrial, Result] = {}
    with Workers(place, options.processes) as workers:
        done |= workers.run("teachers", teachers(settings, seeds))
        done |= workers.run("search, student alone", searches(settings, (ALONE,), seeds, done))
        trials = []
        for name, setting in settings.items():
            for seed in seeds:
                alone = best(search(name, ALONE, seed if setting.own_splits else 0, 1.0), done)
                if alone is not None:
                    trials += [
                        Trial(name, method, seed, alone.lr_factor, labels=labels)
                        for method in methods
                        for labels in options.labels
                    ]
        done |= workers.run("variants", trials)
    results = {**environment(), "seeds": list(seeds), **compare(trials, done, methods)}
    target = options.results or options.out
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / f"sacd_{options.study}.json", results)
    return results


def compare(
    trials: list[Trial], done: Mapping[AnyTrial, Result], methods: tuple[str, ...]
) -> dict[str, Any]:
    """Macro-F1 on validation of every run, each variant's mean difference to sacd, and its rank.

    A condition is a setting with a share of labels; it counts once, however many seeds it has, and
    not at all where a run failed. Ranks are those of the means, averaged over the conditions.

    Raises:
        ValueError: there is no condition without a failed run.
    """
    from scipy import stats

    runs: dict[str, dict[str, list[float]]] = {}
    for trial in trials:
        if "error" not in done[trial]:
            condition = runs.setdefault(f"{trial.setting}, labels {trial.labels:g}", {})
            condition.setdefault(trial.method, []).append(done[trial]["val"]["macro_f1"])
    whole = {
        key: one
        for key, one in runs.items()
        if len(one) == len(methods) and len({len(values) for values in one.values()}) == 1
    }
    if not whole:
        raise ValueError("some run failed in every condition; the files in --out say why")
    mean = {key: {m: float(np.mean(v)) for m, v in one.items()} for key, one in whole.items()}
    gaps = {m: [one[m] - one["sacd"] for one in mean.values()] for m in methods}
    ranks = stats.rankdata([[-one[m] for m in methods] for one in mean.values()], axis=1)
    return {
        "runs": runs,
        "mean": mean,
        "difference_to_sacd": {m: float(np.mean(gap)) for m, gap in gaps.items()},
        "average_rank": dict(zip(methods, ranks.mean(axis=0).tolist(), strict=True)),
        "better_in": {m: sum(one > 0 for one in gap) for m, gap in gaps.items()},
        "worse_in": {m: sum(one < 0 for one in gap) for m, gap in gaps.items()},
        "conditions": len(mean),
    }


def main(options: AblationOptions) -> None:
    """Run the ablation; a user's mistake is one sentence."""
    try:
        results = run_ablation(options)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(
        f"validation macro-F1 minus sacd's, in points, mean of {results['conditions']} conditions, "
        "in how many of them it is better or worse, and its average rank"
    )
    gaps = results["difference_to_sacd"]
    for name in sorted(gaps, key=lambda name: -gaps[name]):
        better, worse = results["better_in"][name], results["worse_in"][name]
        rank = results["average_rank"][name]
        print(f"  {name:<36} {100 * gaps[name]:+.2f}  ({better} better, {worse} worse, {rank:.1f})")


if __name__ == "__main__":
    main(tyro.cli(AblationOptions))
