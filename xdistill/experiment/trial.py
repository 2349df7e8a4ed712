"""One training run: a teacher or a student, trained once, resumed if killed, and then read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from xdistill.data.loader import paired_loader
from xdistill.data.refine import Targets
from xdistill.data.splits import Splits
from xdistill.distiller import Distiller
from xdistill.encoders.checkpoint import save_weights
from xdistill.experiment.case import DEFAULT_CASE, Case
from xdistill.experiment.hardware import Hardware
from xdistill.experiment.methods import TEACHER, UNTAUGHT
from xdistill.experiment.networks import seeded
from xdistill.experiment.rows import has_both_kinds
from xdistill.experiment.run_folder import (
    WEIGHTS,
    Result,
    forget_checkpoint,
    main_process,
    read_outcome,
    wait_for_main_process,
    write_outcome,
)
from xdistill.experiment.setting import Setting
from xdistill.metrics import predict
from xdistill.storage.names import plain_name


@dataclass(frozen=True)
class TeacherTrial:
    """A teacher of a setting, trained alone on its own modality, on all labels of its rows.

    Attributes:
        setting: name of the setting.
        modality: the teacher's.
        seed: of weights and order, and of the split where seeds have their own.
        case: what it is trained on. The cross-fitted one is that of the in-sample case, with the
            outputs that the teachers of folds have for the pairs.
    """

    setting: str
    modality: str
    seed: int
    method: str = TEACHER
    case: Case = DEFAULT_CASE

    @property
    def folder(self) -> Path:
        """Its folder, inside that of the setting."""
        case = "" if self.case == DEFAULT_CASE else f"~{self.case}"
        modality = plain_name(self.modality, "the modality")
        return Path(f"seed{self.seed}", f"{TEACHER}-{modality}{case}")


@dataclass(frozen=True)
class Trial:
    """A student of a setting, trained with a method.

    Attributes:
        setting: name of the setting.
        method: names of losses (see `xdistill.experiment.methods`), or `ALONE`.
        seed: of weights and order, and of the split where seeds have their own.
        lr_factor: multiple of the setting's learning rate.
        strength: multiple of the method's recommended weights.
        labels: share of the training labels that the student sees; the other rows stay as
            unlabelled pairs.
        missing: share of the training rows without the teachers' modalities.
        groups: number of whole groups (subjects) of which the student sees labels, of these the
            share `labels`; None: all.
        case: what its teachers saw; a method without a teacher always has the default.
        epochs: multiple of the setting's epochs.
        targets: what the method learns from, the teacher's own outputs or refined ones; "recipe"
            searches it.
    """

    setting: str
    method: str
    seed: int
    lr_factor: float = 1.0
    strength: float = 1.0
    labels: float = 1.0
    missing: float = 0.0
    groups: int | None = None
    case: Case = DEFAULT_CASE
    epochs: float = 1.0
    targets: Targets = "own"

    def __post_init__(self) -> None:
        if self.method in UNTAUGHT:  # so that it is run once, however many cases there are
            object.__setattr__(self, "case", DEFAULT_CASE)

    @property
    def folder(self) -> Path:
        """Its folder, inside that of the setting. It has every digit, so no two trials share it."""
        numbers = map(float, (self.lr_factor, self.strength, self.labels, self.missing))
        name = "lr{}_strength{}_labels{}_missing{}".format(*numbers)
        name += "" if self.groups is None else f"_groups{self.groups}"
        name += "" if self.case == DEFAULT_CASE else f"_{self.case}"
        name += "" if self.epochs == 1 else f"_epochs{float(self.epochs)}"
        name += "" if self.targets == "own" else f"_{self.targets}"
        method = plain_name(self.method.replace("/", "~"), "the method")
        return Path(f"seed{self.seed}", method, name)

    def lasting(self, setting: Setting) -> Setting:
        """The setting with the trial's number of epochs."""
        return replace(setting, epochs=max(1, round(self.epochs * setting.epochs)))


AnyTrial = Trial | TeacherTrial


@dataclass(frozen=True)
class Training:
    """What a trial trains.

    Attributes:
        make: makes the distiller, with the trial's seed.
        splits: the rows to train, validate and test on.
        setting: batch size, and the metric that chooses the epoch.
        epochs: how often the training rows are seen.
        lr: peak learning rate.
    """

    make: Callable[[], Distiller]
    splits: Splits
    setting: Setting
    epochs: int
    lr: float


def run_trial(
    trial: AnyTrial, folder: Path, prepare: Callable[[], Training], hardware: Hardware
) -> Result:
    """Train a network into a folder, or read the result that is there.

    A run that was killed continues from the checkpoint in its folder and ends with the same
    numbers. A run that failed starts anew.

    Args:
        trial: what is trained; kept in result.json.
        folder: gets weights.safetensors and result.json.
        prepare: loads the data and describes the training; called only where there is no result.
        hardware: what to train on.

    Raises:
        FloatingPointError: the training loss became NaN or infinite.
    """
    done = read_outcome(folder)
    if isinstance(done, Result):
        return done
    if done is not None:
        forget_checkpoint(folder)
    training = prepare()
    splits, epochs = training.splits, training.epochs
    if hardware.verbose and main_process():
        print(
            f"seed {trial.seed} · {trial.method}: {len(splits.train)} rows, {epochs} epochs",
            flush=True,
        )
    begin = time.perf_counter()
    distiller, history, best_epoch = _fit(trial, folder, training, hardware)
    val, test = (
        predict(distiller.student, loader, len(splits.train.classes))
        for loader in _evaluation_loaders(training, hardware)
    )
    seconds, predicted = time.perf_counter() - begin, test.predicted.tolist()
    result = Result(val.scored, test.scored, best_epoch, round(seconds, 2), history, predicted)
    if main_process():
        save_weights(distiller.student, folder / WEIGHTS)
        write_outcome(folder, trial, result)
        forget_checkpoint(folder)
    wait_for_main_process()
    return result


def _fit(
    trial: AnyTrial, folder: Path, training: Training, hardware: Hardware
) -> tuple[Distiller, list[dict[str, float]], int]:
    """The trained distiller, the history of its epochs, and the epoch that was kept."""
    from xdistill.engine.fit import fit  # it imports Lightning, which sets its logger's level

    # The experiment says itself what it trains; Lightning would repeat its notes for every run.
    level = logging.WARNING if hardware.verbose else logging.ERROR
    logging.getLogger("lightning.pytorch").setLevel(level)
    setting, train = training.setting, training.splits.train
    distiller = seeded(trial.seed, training.make)
    streams = setting.labelled_per_batch if has_both_kinds(train) else None
    fitted = fit(
        distiller,
        paired_loader(
            train,
            setting.batch_size,
            shuffle=True,
            seed=trial.seed,
            num_workers=hardware.num_workers,
            # BatchNorm has no statistics for a last batch of a single row.
            drop_last=len(train) % setting.batch_size == 1 and streams is None,
            labelled_per_batch=streams,
            balanced=setting.balanced and streams is not None,
        ),
        _evaluation_loaders(training, hardware)[0],
        max_epochs=training.epochs,
        monitor=setting.monitor,
        lr=training.lr,
        seed=trial.seed,
        run_dir=folder,
        resume=True,  # from the checkpoint of a killed run, if there is one
        check_data=False,
        gradient_clip_val=5.0,
        **hardware.trainer_options(),
    )
    if fitted.interrupted:  # half a training is no result
        raise KeyboardInterrupt
    return distiller, fitted.history, fitted.best_epoch


def _evaluation_loaders(training: Training, hardware: Hardware):
    """Batches of validation and of test, twice as large as those of training."""
    size, workers = 2 * training.setting.batch_size, hardware.num_workers
    return [paired_loader(part, size, num_workers=workers) for part in training.splits[1:]]
