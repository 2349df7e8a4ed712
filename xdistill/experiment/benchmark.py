"""A benchmark: the teacher, the student alone and each method, over seeds, in one report.

Subjects are disjoint, the epoch is chosen on validation and reported on test, every student of a
seed starts from the same weights and sees the same order, and every run is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from xdistill.encoders.checkpoint import load_weights
from xdistill.experiment.case import check_case
from xdistill.experiment.compare import best_of, difference_on_test
from xdistill.experiment.experiment import SETTING, Experiment
from xdistill.experiment.methods import ALONE, BASELINES, BOUND, ROWS, TEACHER, check_method
from xdistill.experiment.networks import encoder_options
from xdistill.experiment.options import Options
from xdistill.experiment.run_folder import (
    WEIGHTS,
    Result,
    main_process,
    numbered_folder,
    open_folder,
)
from xdistill.experiment.setting import PRECOMPUTED, Setting
from xdistill.experiment.trial import Trial
from xdistill.export import CONFIG, STUDENTS, save_student
from xdistill.registry import create_encoder
from xdistill.report import environment, read_json, summarise, table, write_json
from xdistill.storage.lock import alone_in
from xdistill.storage.names import plain_name

# A resumed benchmark may add methods and seeds; what is done stays.
MAY_DIFFER = ("methods", "bound", "seeds", "devices", "accelerator", "num_workers")
# What a finished one has besides.
ADDED = ("encoder", "classes", "kept", STUDENTS, "night")

AnyOptions = TypeVar("AnyOptions", bound=Options)

Runs = Mapping[str, list[Result]]
"""The results of each network, one per seed: the teacher, the student alone, each method, and the
student with all labels."""


class Night(NamedTuple):
    """One night of the test part, for a hypnogram.

    Attributes:
        rows: its rows, in temporal order.
        start_h: hours from lights out, one per row.
        title: whose night.
    """

    rows: list[int]
    start_h: list[float]
    title: str


def run_benchmark(
    name: str, setting: Setting, options: Options, night: Night | None = None
) -> dict[str, Any]:
    """Run a benchmark to its end, write its run folder, and return what results.json holds.

    Args:
        name: what its numbered run folders are called.
        setting: with one teacher.
        options: methods, seeds, share of labels, hardware and run folder.
        night: test rows to draw as a hypnogram.

    Raises:
        FileExistsError: the run folder is not empty and `resume` is False.
        FileNotFoundError: there is no run to resume.
        ValueError: a split shares subjects, bad rows, an unknown method or encoder, a case without
            a teacher, or a resumed run with other options.
    """
    check_case(options.case, setting)
    for method in options.methods:
        check_method(method, setting)
    parent = Path("runs") / plain_name(name, "the benchmark")
    folder = options.out or numbered_folder(parent, options.resume)
    if not main_process():
        return _run(name, setting, options, night, folder)
    with alone_in(folder):
        return _run(name, setting, options, night, folder)


def _run(
    name: str, setting: Setting, options: Options, night: Night | None, folder: Path
) -> dict[str, Any]:
    (teacher,) = setting.teachers
    options = with_earlier_runs(options, folder)
    experiment = Experiment(name, folder, setting, hardware=options.hardware())
    for modality in (setting.student, teacher):
        if setting.encoder_of(modality) != PRECOMPUTED:
            experiment.network(modality)
    may_differ = (*MAY_DIFFER, *ADDED)
    open_folder(folder, CONFIG, options.config(name), resume=options.resume, may_differ=may_differ)
    students = (ALONE, *options.methods)
    numbers = options.numbers()
    runs: dict[str, list[Result]] = {network: [] for network in (TEACHER, *students)}
    for seed in range(options.seeds):
        runs[TEACHER].append(experiment.teacher(teacher, seed, options.case))
        for method in students:
            runs[method].append(experiment.student(method, seed, **numbers))
        if options.bound and options.hides_labels:
            runs.setdefault(BOUND, []).append(experiment.student(ALONE, seed))
    results = _results(experiment, options, runs)
    if main_process():
        _write(experiment, options, runs, results, night)
    return results


def with_earlier_runs(options: AnyOptions, folder: Path) -> AnyOptions:
    """The options, with the methods and seeds of the run that is resumed.

    A resumed run may add methods and seeds; those that it has stay in its report.

    Raises:
        ValueError: the folder holds a run of an older layout.
    """
    if not options.resume or not (folder / CONFIG).exists():
        return options
    if not (folder / SETTING).exists() and any(folder.glob("seed*/*/result.json")):
        raise ValueError(
            f"the results in {folder} were written by an older version, since there is no "
            f"{SETTING}; choose another --out"
        )
    before = read_json(folder / CONFIG)
    if not {"methods", "seeds"} <= before.keys():
        raise ValueError(
            f"{folder / CONFIG} has no methods and seeds, so no benchmark wrote it; choose another "
            "--out"
        )
    methods = tuple(dict.fromkeys([*before["methods"], *options.methods]))
    return replace(
        options,
        methods=methods,
        seeds=max(before["seeds"], options.seeds),
        bound=before.get("bound", False) or options.bound,
    )


def _results(experiment: Experiment, options: Options, runs: Runs) -> dict[str, Any]:
    splits = experiment.splits()
    config = options.config(experiment.name)
    results = {
        "benchmark": experiment.name,
        "seed": 0,
        "seeds": list(range(options.seeds)),
        **environment(),
        "classes": list(splits.train.classes),
        "rows": {name: len(part) for name, part in splits._asdict().items()},
        "config": {key: value for key, value in config.items() if key != "data"},
        **{name: _entry(name, some, runs[ALONE]) for name, some in runs.items()},
    }
    mean = {name: results[name]["macro_f1"] for name in runs}
    baseline = best_of(mean, BASELINES)
    if baseline is not None:
        results["baseline"] = baseline
        for name, some in runs.items():
            if name not in (TEACHER, baseline):
                gap = difference_on_test(some, runs[baseline])
                results[name]["difference_to_baseline"] = gap
    return results


def _entry(name: str, runs: list[Result], alone: list[Result]) -> dict[str, Any]:
    """What results.json says about one network."""
    entry = summarise([one.test for one in runs])
    entry["val_macro_f1"] = [one.val.macro_f1 for one in runs]
    entry["best_epoch"] = [one.best_epoch for one in runs]
    entry["seconds"] = [one.seconds for one in runs]
    if name not in (TEACHER, ALONE):
        entry["difference_to_student"] = difference_on_test(runs, alone)
    return entry


def _write(
    experiment: Experiment,
    options: Options,
    runs: Runs,
    results: Mapping[str, Any],
    night: Night | None,
) -> None:
    folder, classes = experiment.folder, results["classes"]
    write_json(folder / "results.json", results)
    _draw(experiment, runs, night)
    _save_best(experiment, options, runs)
    text = table({ROWS.get(name, name): results[name] for name in runs}, classes)
    print(f"\n{experiment.name}: test set, per cent\n\n{text}\n\nwritten: {folder}", flush=True)


def _draw(experiment: Experiment, runs: Runs, night: Night | None) -> None:
    """Pictures of the runs of seed 0."""
    from xdistill import plotting

    folder, test = experiment.folder, experiment.splits().test
    first = {ROWS.get(name, name): some[0] for name, some in runs.items()}
    scores = {name: one.test for name, one in first.items()}
    histories = {name: one.history for name, one in first.items()}
    plotting.confusion_matrices(folder / "confusion.png", scores, test.classes)
    plotting.learning_curves(folder / "learning_curves.png", histories)
    if night is not None:
        (modality,) = experiment.setting.teachers
        seen = {TEACHER: test.rows_with(modality)}
        drawn, stages = stages_of_night(night, first, seen)
        plotting.hypnogram(
            folder / "hypnogram.png",
            [night.start_h[place] for place in drawn],
            [int(test.target[night.rows[place]]) for place in drawn],
            stages,
            test.classes,
            night.title,
        )


def stages_of_night(
    night: Night, results: Mapping[str, Result], seen: Mapping[str, Tensor]
) -> tuple[list[int], dict[str, list[int]]]:
    """Positions in the night of the rows that every network has seen, and its stages there.

    Args:
        night: rows of the test part.
        results: whose predictions are of the rows that the network has, in their order.
        seen: bool [N] by network, which rows those are; all rows where it is left out.
    """
    rows = torch.tensor(night.rows)
    everyone = torch.ones(len(rows), dtype=torch.bool)
    for has in seen.values():
        everyone &= has[rows]
    drawn = everyone.nonzero().flatten().tolist()
    stages = {}
    for name, result in results.items():
        has = seen.get(name)
        place = rows if has is None else has.cumsum(0)[rows] - 1
        stages[name] = [result.predicted[int(place[one])] for one in drawn]
    return drawn, stages


def _save_best(experiment: Experiment, options: Options, runs: Runs) -> None:
    """Keep the student of the method and seed that has the best validation."""
    setting, train = experiment.setting, experiment.splits().train
    metric = setting.monitor.removeprefix("val/")
    students = [
        (getattr(result.val, metric), method, seed)
        for method, results in runs.items()
        if method not in (TEACHER, BOUND)  # the latter saw labels that are hidden
        for seed, result in enumerate(results)
    ]
    _, method, seed = max(students, key=lambda one: one[0])
    folders = {
        name: [str(trial_of(experiment, options, name, one).folder) for one in range(len(results))]
        for name, results in runs.items()
        if name != TEACHER
    }
    own = encoder_options(setting, train, setting.student)
    encoder = create_encoder(setting.encoder, **own)
    load_weights(encoder, experiment.folder / folders[method][seed] / WEIGHTS)
    save_student(
        experiment.folder,
        encoder,
        name=setting.encoder,
        options=own,
        classes=train.classes,
        config={
            **options.config(experiment.name),
            "kept": {"method": method, "seed": seed},
            STUDENTS: folders,
        },
    )


def trial_of(experiment: Experiment, options: Options, method: str, seed: int) -> Trial:
    """The trial of a student in the report."""
    if method == BOUND:
        return experiment.trial(ALONE, seed)
    return experiment.trial(method, seed, **options.numbers())
