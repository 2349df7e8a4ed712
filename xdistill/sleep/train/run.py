"""Train students on prepared nights, put them into the context of the night, and judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from xdistill.encoders.checkpoint import load_weights
from xdistill.experiment import Experiment, run_benchmark
from xdistill.experiment.benchmark import trial_of, with_earlier_runs
from xdistill.experiment.methods import ALONE, BOUND, UNTAUGHT
from xdistill.experiment.run_folder import WEIGHTS, main_process, numbered_folder
from xdistill.export import CONFIG
from xdistill.sleep.context.head import ContextHead
from xdistill.sleep.model import FOLDS, NightFacts, save_night_model
from xdistill.sleep.train.contexts import (
    ContextOptions,
    InContext,
    described,
    in_context,
    night_rows,
    with_teachers_stages,
)
from xdistill.sleep.train.data import NightData, night_data
from xdistill.sleep.train.options import NightOptions, night_setting
from xdistill.sleep.train.scores import (
    SleeperScores,
    held_out_entry,
    over_sleepers,
    sleeper_scores,
)
from xdistill.sleep.train.tables import agreement_table, nights_table
from xdistill.storage.json_file import read_json, write_json

NAME = "nights"
RESULTS = "results.json"
HEAD_WEIGHTS = "context.safetensors"

Judged = Mapping[str, Mapping[str, list[SleeperScores]]]
"""The held-out sleepers' scores, by method and context; those of several seeds after each other."""


def train_nights(options: NightOptions) -> dict[str, Any]:
    """Train, judge and keep the students; returns what results.json holds.

    With `folds` every scored sleeper is held out once: each fold is a run in a folder of its own,
    and results.json above them is of all sleepers.

    Raises:
        FileExistsError: the run folder is not empty and `resume` is False.
        FileNotFoundError: there are no prepared nights, or no run to resume.
        ValueError: options or nights that no run can be made of.
    """
    options.check_names()
    out = options.out or numbered_folder(Path("runs") / NAME, options.resume)
    if options.folds is None:
        results, _ = _train(options, out, None)
        return results
    judged: dict[str, dict[str, list[SleeperScores]]] = {}
    for fold in range(options.folds):
        own = out / f"fold{fold}"
        begun = options.resume and own.exists()
        _, found = _train(replace(options, resume=begun), own, fold)
        for method, contexts in found.items():
            for context, sleepers in contexts.items():
                judged.setdefault(method, {}).setdefault(context, []).extend(sleepers)
    results = {"folds": options.folds, "judge": options.judged_by, NAME: _summary(judged)}
    if main_process():
        write_json(out / RESULTS, results)
        write_json(out / FOLDS, {"folds": [f"fold{fold}" for fold in range(options.folds)]})
        print(f"\nAll folds:\n{_printed(judged, options)}\n\nwritten: {out}", flush=True)
    return results


class _Students(NamedTuple):
    """All students of a run: scores, what is saved of them, and what results.json says."""

    judged: dict[str, dict[str, list[SleeperScores]]]
    kept: dict[str, list[dict[str, Any]]]
    heads: dict[str, ContextHead]
    choices: dict[str, list[dict[str, Any]]]


def _train(options: NightOptions, out: Path, fold: int | None) -> tuple[dict[str, Any], Judged]:
    """One run, in its folder."""
    options = replace(options, out=out)
    data = night_data(
        options.prepared,
        options.sees,
        options.teacher,
        options.judged_by,
        **options.data_options(fold),
    )
    for note in data.notes if main_process() else ():
        print(f"note: {note}", flush=True)
    setting = night_setting(options, data.splits, data.shape)
    results = run_benchmark(NAME, setting, options)
    options = with_earlier_runs(replace(options, resume=True), out)
    experiment = Experiment(NAME, out, setting, hardware=options.hardware())
    made = _in_context(experiment, options, data)
    results = {
        **results,
        "judge": options.judged_by,
        NAME: _summary(made.judged),
        "contexts": made.choices,
        "notes": list(data.notes),
    }
    if main_process():
        facts = NightFacts(options.sees, data.video, data.training_signals, made.kept)
        save_night_model(out, facts, made.heads)
        write_json(out / RESULTS, results)
        best = read_json(out / CONFIG)["kept"]
        chosen = made.choices[best["method"]][best["seed"]]["chosen"]
        print(_printed(made.judged, options, best["method"], chosen), flush=True)
    return results, made.judged


def _in_context(experiment: Experiment, options: NightOptions, data: NightData) -> _Students:
    made = _Students({}, {}, {}, {})
    bound = [BOUND] if options.bound and options.hides_labels else []
    for method, seed in product([ALONE, *options.methods, *bound], range(options.seeds)):
        found, folder = _student_in_context(experiment, options, data, method, seed)
        judged = made.judged.setdefault(method, {})
        scores = {
            context: sleeper_scores(probabilities, data.truth, data.subject)
            for context, probabilities in found.test.items()
        }
        for context, sleepers in scores.items():
            judged.setdefault(context, []).extend(sleepers)
        context = found.context
        if found.head is not None:
            file = (folder / HEAD_WEIGHTS).as_posix()
            made.heads[file], context = found.head, context._replace(head=file)
        entry = held_out_entry(scores[found.chosen], options.judged_by)
        made.kept.setdefault(method, []).append({"context": context, "held_out": entry})
        made.choices.setdefault(method, []).append(described(found))
    return made


def _student_in_context(
    experiment: Experiment, options: NightOptions, data: NightData, method: str, seed: int
) -> tuple[InContext, Path]:
    """The trained student of a method and seed with its contexts, and the folder of its run."""
    trial = trial_of(experiment, options, method, seed)
    encoder = experiment.network(options.sees, seed)
    load_weights(encoder, experiment.folder / trial.folder / WEIGHTS)
    if options.accelerator != "cpu" and torch.cuda.is_available():
        encoder = encoder.cuda()
    lengths = {night: len(stages) for night, stages in data.truth.items()}
    pairs, _ = experiment.pairs(trial)
    if trial.method in UNTAUGHT:  # nobody taught it, even where the data hold a teacher's outputs
        pairs = pairs.replace(cached={})
    parts = data.splits._replace(train=pairs)
    train, val, test = (
        night_rows(part, encoder, options.sees, lengths, data.subject) for part in parts
    )
    made = ContextOptions(
        options.context, options.context_distil, options.context_epochs, options.weighted, seed
    )
    classes = len(data.splits.train.classes)
    found = in_context(train, val, test, with_teachers_stages(train), classes, made)
    return found, trial.folder


def _summary(judged: Judged) -> dict[str, Any]:
    return {
        method: {
            context: {
                **over_sleepers(sleepers),
                "runs": [{**one.five._asdict(), "four": dict(one.four)} for one in sleepers],
            }
            for context, sleepers in contexts.items()
        }
        for method, contexts in judged.items()
    }


def _printed(
    judged: Judged, options: NightOptions, method: str | None = None, context: str | None = None
) -> str:
    """The tables of all students, and of one student's sleep statistics."""
    text = nights_table(judged, options.judged_by)
    methods: Sequence[str] = [method] if method is not None else [ALONE, *options.methods]
    for name in methods:
        some = judged[name]
        chosen = context if context is not None and context in some else list(some)[-1]
        text += "\n\n" + agreement_table(f"{name}, {chosen}", some[chosen])
    return text
