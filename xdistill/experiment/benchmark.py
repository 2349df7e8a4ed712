"""One protocol for every benchmark script: teacher, student alone, each method, one report.

Subjects are disjoint, the epoch is chosen on validation and reported on test, every student of a
seed starts from the same weights and sees the same order, and every run is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from hidden_layers import Pairs, create_term, keep_layers, parse_pairs
from options import Options, as_config, lightning_devices
from run_folder import Run, main_process, open_folder, read_run, say
from torch import Tensor, nn

import xdistill as xd
from xdistill.data.audit import audit
from xdistill.data.cache import cache_teacher
from xdistill.data.paired import PairedDataset, collate, paired_loader
from xdistill.data.splits import Splits, check_disjoint, hide_labels
from xdistill.encoders.checkpoint import load_weights, save_weights
from xdistill.engine import fit
from xdistill.export import save_student
from xdistill.metrics import predict
from xdistill.report import (
    environment,
    paired_difference,
    summarise,
    table,
    write_json,
)

ALONE = "student"
TEACHER = "teacher"


@dataclass(frozen=True)
class Task:
    """What a benchmark is about.

    Attributes:
        name: what the run folders are called.
        splits: subject-disjoint paired datasets.
        student: modality of the student.
        teacher: modality of the teacher.
        encoder_options: extra options of `create_encoder` per modality.
        night: rows of the test set that are one night in temporal order, and their start in hours.
    """

    name: str
    splits: Splits
    student: str
    teacher: str
    encoder_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    night: tuple[list[int], list[float], str] | None = None


def method_loss(method: str, layers: Pairs) -> xd.Loss:
    """Cross-entropy plus the named losses at their recommended weights, warmed up as recommended.

    Those that compare hidden layers compare the given pairs.

    `kd` alone follows its usual mix of 0.1 cross-entropy and 0.9 distillation.
    """
    if method == "kd":
        return 0.1 * xd.CrossEntropy() + 0.9 * xd.KD()
    loss: xd.Loss = xd.CrossEntropy()
    for name in method.split("+"):
        term = create_term(name, layers)
        weight, epochs = term.recommended_weight, term.recommended_warmup_epochs
        loss = loss + weight * (xd.warmup(term, epochs) if epochs else term)
    return loss


def run(task: Task, options: Options) -> dict[str, Any]:
    """Run a benchmark to its end and return what results.json holds.

    Raises:
        FileExistsError: the run folder is not empty and `resume` is off.
        ValueError: a split shares subjects, bad rows, an unknown method or encoder, or a resumed
            run with other options.
    """
    pairs = parse_pairs(options.layers)
    for method in options.methods:
        method_loss(method, pairs)
    for name, modality in ((options.student, task.student), (options.teacher, task.teacher)):
        new_encoder(task, name, modality, pairs)
    check_disjoint(task.splits)
    splits = Splits(
        *(
            audit(part, required=(task.student,), optional=(task.teacher,), name=name)
            for name, part in zip(Splits._fields, task.splits, strict=True)
        )
    )
    folder = open_folder(task.name, options)
    runs: dict[str, list[Run]] = {TEACHER: [], ALONE: [], **{name: [] for name in options.methods}}
    for seed in range(options.seeds):
        stage = _Stage(task, options, splits, folder, seed)
        teacher, result = stage.teacher()
        runs[TEACHER].append(result)
        paired = stage.cached(teacher)
        for method in (ALONE, *options.methods):
            runs[method].append(stage.student(method, teacher, paired))
    return _report(task, options, folder, runs)


class _Stage:
    """All networks of one seed."""

    def __init__(self, task: Task, options: Options, splits: Splits, folder: Path, seed: int):
        self.task, self.options, self.seed = task, options, seed
        self.splits, self.folder = splits, folder / f"seed{seed}"
        self.classes = splits.train.classes
        self.layers = parse_pairs(options.layers)

    def teacher(self) -> tuple[nn.Module, Run]:
        """The teacher, trained alone on its own modality."""
        splits = Splits(*(rows_with(part, self.task.teacher) for part in self.splits))
        encoder = self._encoder(self.options.teacher, self.task.teacher)
        epochs = self.options.teacher_epochs
        distiller = lambda: xd.Distiller(encoder, None, xd.CrossEntropy())  # noqa: E731
        return encoder, self._train(TEACHER, encoder, distiller, splits.train, splits, epochs)

    def cached(self, teacher: nn.Module) -> PairedDataset:
        """The student's training set: some labels hidden, the teacher's outputs computed once."""
        train = hide_labels(self.splits.train, self.options.label_fraction, seed=self.seed)
        return cache_teacher(
            train,
            teacher,
            self.task.teacher,
            root=self.folder / "teacher_outputs",
            hidden=[layer for _, layer in self.layers],
        )

    def student(self, method: str, teacher: nn.Module, train: PairedDataset) -> Run:
        """A student, alone or with a method."""
        encoder = self._encoder(self.options.student, self.task.student)
        example = collate([train[0]])  # drawn before `_train` seeds

        def distiller() -> xd.Distiller:
            if method == ALONE:
                return xd.Distiller(encoder, None, xd.CrossEntropy())
            return xd.Distiller(
                encoder,
                {self.task.teacher: teacher},
                method_loss(method, self.layers),
                num_classes=len(self.classes),
                num_samples=len(train),
                example=example,
            )

        return self._train(method, encoder, distiller, train, self.splits, self.options.max_epochs)

    def _encoder(self, name: str, modality: str) -> nn.Module:
        torch.manual_seed(self.seed)
        return new_encoder(self.task, name, modality, self.layers)

    def _train(
        self,
        method: str,
        encoder: nn.Module,
        distiller: Callable[[], xd.Distiller],
        train: PairedDataset,
        splits: Splits,
        epochs: int,
    ) -> Run:
        folder = self.folder / method
        result, weights = folder / "result.json", folder / "weights.safetensors"
        if result.exists():
            load_weights(encoder, weights)
            return read_run(result)
        say(f"seed {self.seed} · {method}: {len(train)} rows, {epochs} epochs")
        begin = time.perf_counter()
        torch.manual_seed(self.seed)
        options = self.options
        fitted = fit(
            distiller(),
            paired_loader(
                train,
                options.batch_size,
                shuffle=True,
                seed=self.seed,
                num_workers=options.num_workers,
                # A last batch of one row has no statistics for BatchNorm.
                drop_last=len(train) % options.batch_size == 1,
            ),
            self._loader(splits.val),
            max_epochs=epochs,
            monitor=options.monitor,
            lr=options.lr,
            seed=self.seed,
            run_dir=folder,
            resume=True,
            check_data=False,
            accelerator=options.accelerator,
            devices=lightning_devices(options.devices),
            precision=options.precision,
            gradient_clip_val=5.0,
        )
        val = predict(encoder, self._loader(splits.val), len(self.classes))
        test = predict(encoder, self._loader(splits.test), len(self.classes))
        done = Run(
            method,
            self.seed,
            val.scores,
            test.scores,
            fitted.best_epoch,
            time.perf_counter() - begin,
            fitted.history,
            test.predicted.tolist(),
        )
        if main_process():
            save_weights(encoder, weights)
            write_json(result, asdict(done))
            (folder / "last.ckpt").unlink(missing_ok=True)
        return done

    def _loader(self, dataset: PairedDataset):
        return paired_loader(
            dataset, 2 * self.options.batch_size, num_workers=self.options.num_workers
        )


def new_encoder(task: Task, name: str, modality: str, pairs: Pairs) -> nn.Module:
    """An encoder of one of the two modalities that returns its layers of the pairs."""
    encoder = xd.create_encoder(name, **encoder_options(task, name, modality))
    names = [pair[modality == task.teacher] for pair in pairs]
    return keep_layers(encoder, names, first_sample(task.splits.train, modality)[None])


def encoder_options(task: Task, name: str, modality: str) -> dict[str, Any]:
    """Options of `create_encoder` that follow from the data."""
    sample = first_sample(task.splits.train, modality)
    own: dict[str, Any] = {"num_classes": len(task.splits.train.classes)}
    own["in_features" if name == "mlp" else "in_channels"] = sample.shape[0]
    if name == "mlp" or name.startswith(("timm/", "torchvision/")):
        own["modality"] = modality
    return own | dict(task.encoder_options.get(modality, {}))


def _report(
    task: Task, options: Options, folder: Path, runs: Mapping[str, list[Run]]
) -> dict[str, Any]:
    entries = {name: summarise([one.test for one in some]) for name, some in runs.items()}
    for name, some in runs.items():
        entries[name]["val_macro_f1"] = [one.val.macro_f1 for one in some]
        entries[name]["best_epoch"] = [one.best_epoch for one in some]
        entries[name]["seconds"] = [round(one.seconds, 2) for one in some]
        if name not in (TEACHER, ALONE):
            entries[name]["difference_to_student"] = paired_difference(
                [one.test for one in some], [one.test for one in runs[ALONE]]
            )
    classes = task.splits.train.classes
    results = {
        "benchmark": task.name,
        "seed": 0,
        "seeds": list(range(options.seeds)),
        **environment(),
        "classes": list(classes),
        "rows": {name: len(part) for name, part in zip(Splits._fields, task.splits, strict=True)},
        "config": {
            name: value for name, value in as_config(task.name, options).items() if name != "data"
        },
        **entries,
    }
    if main_process():
        write_json(folder / "results.json", results)
        _draw(task, options, folder, runs)
        _save_best(task, options, folder, runs)
        say(f"\n{task.name}: test set, per cent\n\n{table(entries, classes)}\n\nwritten: {folder}")
    return results


def _draw(task: Task, options: Options, folder: Path, runs: Mapping[str, list[Run]]) -> None:
    from xdistill import plotting

    first = {name: some[0] for name, some in runs.items()}
    classes = task.splits.train.classes
    scores = {name: one.test for name, one in first.items()}
    plotting.confusion_matrices(folder / "confusion.png", scores, classes)
    plotting.learning_curves(
        folder / "learning_curves.png", {name: one.history for name, one in first.items()}
    )
    if task.night is not None:
        rows, start_h, title = task.night
        plotting.hypnogram(
            folder / "hypnogram.png",
            start_h,
            task.splits.test.target[rows].tolist(),
            {name: [one.predicted[row] for row in rows] for name, one in first.items()},
            classes,
            title,
        )


def _save_best(task: Task, options: Options, folder: Path, runs: Mapping[str, list[Run]]) -> None:
    """Keep the student of the method and seed that validation prefers."""
    students = [one for name, some in runs.items() if name != TEACHER for one in some]
    metric = options.monitor.removeprefix("val/")
    best = max(students, key=lambda one: getattr(one.val, metric))
    own = encoder_options(task, options.student, task.student)
    encoder = xd.create_encoder(options.student, **own)
    load_weights(encoder, folder / f"seed{best.seed}" / best.method / "weights.safetensors")
    save_student(
        folder,
        encoder,
        name=options.student,
        options=own,
        classes=task.splits.train.classes,
        config={
            **as_config(task.name, options),
            "kept": {"method": best.method, "seed": best.seed},
        },
    )


def rows_with(dataset: PairedDataset, modality: str) -> PairedDataset:
    """The rows that have a modality, with that modality alone."""
    only = dataset.replace(
        inputs={modality: dataset.inputs[modality]},
        valid={name: mask for name, mask in dataset.valid.items() if name == modality},
    )
    return only.subset(dataset.valid[modality].nonzero().flatten()) if only.valid else only


def first_sample(dataset: PairedDataset, modality: str) -> Tensor:
    row = next(row for row in range(len(dataset)) if dataset.has(modality, row))
    return dataset.read(modality, row)
