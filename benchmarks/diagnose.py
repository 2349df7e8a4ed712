"""What predicts the gain by distillation? Probes and counts beside the suite's real gains.

For every condition of results/suite_runs.csv (a setting, what the teacher saw, how many labels) the
probes of `xd.diagnose` are fitted for each seed, with an untrained student. What they say is set
against the gain of the runs: macro-F1 on test of `recipe` minus that of the labelled rows alone.
Predictors are compared by leaving out one *source* of data at a time, since settings of one source
are alike. Writes results/diagnose.json and, from it, xdistill/diagnosis/learned.py.

Teachers are read from the runs of `benchmarks/suite.py` where they are, else trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from diagnosis_gains.gains import Condition, gains_of
from diagnosis_gains.predictors import compared, final_fit

import xdistill.diagnosis
from xdistill.diagnosis.diagnose import outputs_of
from xdistill.diagnosis.measures import Measures, Sides, measure
from xdistill.experiment.case import Case
from xdistill.experiment.experiment import Experiment
from xdistill.experiment.settings import chosen_settings
from xdistill.report import environment, read_json, write_json

HERE = Path(__file__).parent
LEARNED = Path(xdistill.diagnosis.__file__).parent / "learned.py"


@dataclass(frozen=True)
class Options:
    """Where things are."""

    runs: Path = Path("runs/suite")
    """Folder of the suite's runs, with a folder for each setting."""
    suite_runs: Path = HERE / "results" / "suite_runs.csv"
    """Every run of the suite."""
    data_root: Path = Path("data")
    """Folder that holds a folder for each data set."""
    teacher_share: float = 0.5
    """As in the suite."""
    cases: tuple[Case, ...] = ("transfer",)
    """Which of the suite's cases: that in which no teacher saw a label of its pupils."""
    settings: tuple[str, ...] = ()
    """All of the suite's when left out; the figures of the others are kept."""
    out: Path = HERE / "results" / "diagnose.json"
    """Where the JSON goes."""
    learned: Path = LEARNED
    """The module that is written."""


def main(options: Options) -> None:
    """Measure, compare the predictors and write both files."""
    gains = gains_of(options.suite_runs)
    gains = {each: some for each, some in gains.items() if each.case in options.cases}
    names = options.settings or tuple(dict.fromkeys(each.setting for each in gains))
    for name in names:
        here = {each: gain for each, gain in gains.items() if each.setting == name}
        found = list(measured(name, here, options))
        before = read_json(options.out)["conditions"] if options.out.exists() else []
        entries = [each for each in before if each["setting"] != name] + found
        figures = {"conditions": entries, "predictors": compared(entries)}
        write_json(options.out, {**environment(), **figures})
        print(f"{name}: {len(here)} conditions", flush=True)
    entries = read_json(options.out)["conditions"]
    fit = final_fit(entries)
    options.learned.write_text(
        '"""What `benchmarks/diagnose.py` learned from the suite\'s runs; written by it."""\n\n'
        f"INTERCEPT = {fit.intercept:.4f}\nPER_DOUBLING = {fit.slope:.4f}\n"
        f"SPREAD = ({fit.low:.4f}, {fit.high:.4f})\n"
    )
    for predictor, figure in compared(entries).items():
        print(f"{predictor:<34} {figure}")


def measured(
    name: str, gains: dict[Condition, list[float]], options: Options
) -> Iterable[dict[str, Any]]:
    """What the probes say in every condition of a setting, as the mean over seeds."""
    setting = chosen_settings((name,))[name]
    if setting.teacher_load is None:
        setting = replace(setting, teacher_share=options.teacher_share)
    experiment = Experiment(name, options.runs / name, setting, data_root=options.data_root)
    modality = next(iter(setting.teachers))
    found: dict[Condition, list[dict[str, Any]]] = {one: [] for one in gains}
    seeds = max(len(one) for one in gains.values())
    for seed in range(seeds):
        splits = experiment.splits(seed)
        student = experiment.network(setting.student, seed)
        sides = {
            part: outputs_of(student, rows, setting.student)
            for part, rows in (("train", splits.train), ("val", splits.val))
        }
        cases: list[Case] = list(dict.fromkeys(one.case for one in gains))
        for case in cases:
            val = None
            for condition in (one for one in gains if one.case == case):
                shown = {"labels": condition.labels, "groups": condition.groups, "case": case}
                train, teachers = experiment.pairs(experiment.trial("kd", seed, **shown))
                if val is None:
                    taught = outputs_of(teachers[modality], splits.val, modality)
                    val = Sides(sides["val"], taught, splits.val.target)
                both = Sides(sides["train"], train.cached[modality], train.target)
                found[condition].append(asdict(measure(both, val, len(splits.train.classes))))
    for condition, some in found.items():
        yield {
            **condition._asdict(),
            "gain": float(np.mean(gains[condition])),
            **{key: _mean([one[key] for one in some]) for key in Measures.__dataclass_fields__},
        }


def _mean(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {str(key): float(np.mean([one[key] for one in values])) for key in values[0]}
    return float(np.mean(values))


def _main(run: Callable[[Options], None]) -> None:
    torch.set_num_threads(1)
    run(tyro.cli(Options, description=__doc__))


if __name__ == "__main__":
    _main(main)
