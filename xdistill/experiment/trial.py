"""One training run of the suite, and the file that keeps it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from protocol import ALONE, TEACHER, first_sample, rows_with
from suite_methods import create_losses
from suite_settings import SETTINGS, Setting
from torch import nn

import xdistill as xd
from xdistill.data.cache import cache_teacher
from xdistill.data.paired import PairedDataset, paired_loader
from xdistill.data.splits import Splits, check_disjoint
from xdistill.encoders.checkpoint import load_weights, save_weights
from xdistill.engine import fit
from xdistill.metrics import predict
from xdistill.report import write_json

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Place:
    """Where the suite reads and writes: the folder of all data, and that of its runs."""

    data_root: Path
    out: Path


@dataclass(frozen=True)
class TeacherTrial:
    """A teacher of a setting, trained alone on its own modality."""

    setting: str
    modality: str
    seed: int
    method: str = TEACHER

    def folder(self, place: Place) -> Path:
        """Holds its weights."""
        return place.out / self.setting / f"seed{self.seed}" / f"{TEACHER}-{self.modality}"

    def path(self, place: Place) -> Path:
        """Its result."""
        return self.folder(place) / "result.json"

    def run(self, place: Place) -> dict[str, Any]:
        """Train, keep the weights, and return the scores."""
        setting = SETTINGS[self.setting]
        splits = _splits(self.setting, _split_number(setting, self.seed), place)
        encoder = _encoder(setting, splits, self.modality, self.seed)
        only = Splits(*(rows_with(part, self.modality) for part in splits))
        distiller = xd.Distiller(encoder, None, xd.CrossEntropy())
        epochs = setting.teacher_epochs
        scores = _train(setting, distiller, only.train, only, epochs, setting.lr, self.seed)
        self.folder(place).mkdir(parents=True, exist_ok=True)
        save_weights(encoder, self.folder(place) / WEIGHTS)
        return scores


@dataclass(frozen=True)
class Trial:
    """A student of a setting.

    Attributes:
        setting: name of the setting.
        method: name of the method, or `ALONE`.
        seed: of weights and order, and of the split where seeds have their own.
        lr_factor: multiple of the setting's learning rate.
        strength: multiple of the method's recommended weight.
        labels: share of the training labels that the student sees.
        missing: share of the training rows without the teachers' modalities.
    """

    setting: str
    method: str
    seed: int
    lr_factor: float = 1.0
    strength: float = 1.0
    labels: float = 1.0
    missing: float = 0.0

    def path(self, place: Place) -> Path:
        """Its result."""
        numbers = [self.lr_factor, self.strength, self.labels, self.missing]
        name = "lr{:.3g}_strength{:.3g}_labels{:.3g}_missing{:.3g}.json".format(*numbers)
        method = self.method.replace("/", "~")
        return place.out / self.setting / f"seed{self.seed}" / method / name

    def run(self, place: Place) -> dict[str, Any]:
        """Train and return the scores."""
        setting = SETTINGS[self.setting]
        splits = _splits(self.setting, _split_number(setting, self.seed), place)
        encoder = _encoder(setting, splits, setting.student, self.seed)
        if self.method == ALONE:
            train = xd.hide_labels(splits.train, self.labels, seed=self.seed)
            distiller = xd.Distiller(encoder, None, xd.CrossEntropy())
        else:
            teachers, train = _taught(self.setting, self.seed, place)
            train = xd.hide_labels(train, self.labels, seed=self.seed)
            train = hide_teachers(train, tuple(setting.teachers), self.missing, seed=self.seed)
            torch.manual_seed(self.seed)
            distiller = xd.Distiller(
                encoder,
                dict(teachers),
                create_losses(self.method, tuple(teachers), self.strength, setting.epochs),
                num_classes=len(train.classes),
                num_samples=len(train),
            )
        lr = self.lr_factor * setting.lr
        return _train(setting, distiller, train, splits, setting.epochs, lr, self.seed)


def run_and_keep(trial: Trial | TeacherTrial, place: Place) -> dict[str, Any]:
    """Run a trial in this process and write its result, or what went wrong, to its file."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    begin = time.perf_counter()
    try:
        result = trial.run(place)
    except Exception as error:  # whatever it is, the other runs go on
        result = {"error": f"{type(error).__name__}: {error}"}
    result = {**asdict(trial), **result, "seconds": round(time.perf_counter() - begin, 2)}
    keep(trial, place, result)
    return result


def keep(trial: Trial | TeacherTrial, place: Place, result: Mapping[str, Any]) -> None:
    """Write the file of a trial."""
    path = trial.path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)


def hide_teachers(
    train: PairedDataset, teachers: tuple[str, ...], share: float, seed: int
) -> PairedDataset:
    """The same rows, of which a share has no teacher modality.

    With one seed the rows that lack it at a smaller share lack it at a larger one, too.
    """
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    has = torch.ones(len(train), dtype=torch.bool)
    has[order[: round(share * len(train))]] = False
    before = {name: train.valid.get(name, torch.ones_like(has)) for name in teachers}
    return train.replace(valid={**train.valid, **{name: has & before[name] for name in teachers}})


def _train(
    setting: Setting,
    distiller: xd.Distiller,
    train: PairedDataset,
    splits: Splits,
    epochs: int,
    lr: float,
    seed: int,
) -> dict[str, Any]:
    size = setting.batch_size
    encoder, classes = distiller.student, len(splits.train.classes)
    # A last batch of one row has no statistics for BatchNorm.
    drop = len(train) % size == 1
    fitted = fit(
        distiller,
        paired_loader(train, size, shuffle=True, seed=seed, drop_last=drop),
        paired_loader(splits.val, 4 * size),
        max_epochs=epochs,
        monitor="val/macro_f1",
        lr=lr,
        seed=seed,
        check_data=False,
        accelerator="cpu",
        gradient_clip_val=5.0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    scores = {
        name: asdict(predict(encoder, paired_loader(part, 4 * size), classes).scores)
        for name, part in (("val", splits.val), ("test", splits.test))
    }
    return {**scores, "best_epoch": fitted.best_epoch}


def _split_number(setting: Setting, seed: int) -> int:
    return seed if setting.own_splits else 0


@lru_cache(maxsize=2)
def _splits(name: str, split: int, place: Place) -> Splits:
    splits = SETTINGS[name].load(place.data_root, split)
    check_disjoint(splits)
    return splits


@lru_cache(maxsize=2)
def _taught(name: str, seed: int, place: Place) -> tuple[Mapping[str, nn.Module], PairedDataset]:
    """The teachers of a seed, and the training part with their outputs in place of their inputs."""
    setting = SETTINGS[name]
    splits = _splits(name, _split_number(setting, seed), place)
    teachers, train = {}, splits.train
    for modality in setting.teachers:
        trial = TeacherTrial(name, modality, seed)
        teacher = _encoder(setting, splits, modality, seed)
        load_weights(teacher, trial.folder(place) / WEIGHTS)
        train = cache_teacher(train, teacher, modality, root=trial.folder(place))
        teachers[modality] = teacher
    return teachers, train


def _encoder(setting: Setting, splits: Splits, modality: str, seed: int) -> nn.Module:
    name = setting.encoder if modality == setting.student else setting.teachers[modality]
    own: dict[str, Any] = {
        "num_classes": len(splits.train.classes),
        "in_channels": first_sample(splits.train, modality).shape[0],
    }
    if name == "mlp":
        own["modality"] = modality
    torch.manual_seed(seed)
    return xd.create_encoder(name, **own, **setting.options.get(modality, {}))
