"""Change parts of SACD, or add other losses to it, and compare on validation of several data sets.

The test parts are not looked at: what is found here may become a default.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xdistill.experiment import ALONE, Case, Result, Trial, cli
from xdistill.experiment.case import check_case
from xdistill.experiment.run_folder import Outcome
from xdistill.experiment.search import Done, Plan, best_alone, searches, teachers
from xdistill.experiment.settings import OURS, chosen_settings
from xdistill.experiment.suite import check_methods
from xdistill.experiment.trial import AnyTrial
from xdistill.experiment.variants import PARTS
from xdistill.experiment.workers import Place, Workers
from xdistill.report import environment, write_json

COMBINATIONS = (
    "dist",
    "ccl",
    "supcon",
    "infonce",
    "dist+supcon",
    "kd+sacd/bank_0",
    "sacd/bank_0",
    "sacd/bank_0_no_projector",
    "sacd/all_negatives",
    "sacd/all_negatives_no_projector",
    "sacd/all_negatives_no_structure",
    "dist+sacd",
    "dist+sacd/bank_0",
    "dist+sacd/bank_0_weight_1",
    "dist+sacd/all_negatives",
    "dist+sacd/all_negatives_weight_1",
    "dist+sacd/all_negatives_no_structure",
)
"""SACD beside another loss, and what that loss and others do by themselves."""

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
    case: Case = "transfer"
    """What the teacher saw of the rows that it teaches."""
    teacher_share: float = 0.5
    """Share of the training subjects set aside for a transfer teacher, as in the suite."""
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
    place = Place(options.data_root.expanduser(), options.out, options.teacher_share)
    parts = options.study == "parts"
    names = chosen_settings(options.datasets or (FOUR if parts else tuple(OURS)))
    variants = options.variants or (tuple(PARTS) if parts else COMBINATIONS)
    methods, seeds = (ALONE, "sacd", *variants), tuple(range(options.seeds))
    plan = Plan({name: place.setting(name) for name in names}, methods, seeds, (options.case,))
    check_methods(methods[1:], plan.settings)
    for name, setting in plan.settings.items():
        check_case(options.case, setting)
        place.experiment(name).check_folder()
    done: dict[AnyTrial, Outcome] = {}
    with Workers(place, options.processes) as workers:
        done |= workers.run("teachers", teachers(plan, options.case))
        done |= workers.run("search, student alone", searches(plan, (ALONE,), done))
        trials = [
            Trial(name, method, seed, alone.lr_factor, labels=labels, case=options.case)
            for name in plan.settings
            for seed in seeds
            if (alone := best_alone(plan, name, seed, done)) is not None
            for method in methods
            for labels in options.labels
        ]
        done |= workers.run("variants", trials)
    results = {**environment(), "case": options.case, "seeds": list(seeds)}
    results |= compare(trials, done, methods)
    target = options.results or options.out
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / f"sacd_{options.study}.json", results)
    return results


def compare(trials: list[Trial], done: Done, methods: tuple[str, ...]) -> dict[str, Any]:
    """Macro-F1 on validation of every run, each variant's mean difference to sacd, and its rank.

    A condition is a setting with a share of labels; it counts once, however many seeds it has, and
    not at all where a run failed. Ranks are those of the means, averaged over the conditions.

    Raises:
        ValueError: there is no condition without a failed run.
    """
    from scipy import stats

    runs: dict[str, dict[str, list[float]]] = {}
    for trial in trials:
        if isinstance(result := done[trial], Result):
            condition = runs.setdefault(f"{trial.setting}, labels {trial.labels:g}", {})
            condition.setdefault(trial.method, []).append(result.val.macro_f1)
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
    """Run the ablation and print its table."""
    results = run_ablation(options)
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
    cli(main, AblationOptions)
