"""All networks of one setting: its data and its teachers, shared by the trials that need them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from torch import nn

from xdistill.data.audit import audit
from xdistill.data.cache import cache_teacher
from xdistill.data.labels import hide_labels, keep_labels_of
from xdistill.data.paired import PairedDataset, collate
from xdistill.data.splits import Splits, check_disjoint
from xdistill.distiller import Distiller
from xdistill.encoders.checkpoint import load_weights
from xdistill.experiment.hardware import Hardware
from xdistill.experiment.methods import LABELLED, UNTAUGHT, create_losses
from xdistill.experiment.networks import new_network
from xdistill.experiment.rows import hide_teachers, labelled_only, only
from xdistill.experiment.run_folder import WEIGHTS, Failure, Result, check_config, read_outcome
from xdistill.experiment.setting import Setting, get_setting
from xdistill.experiment.trial import AnyTrial, TeacherTrial, Training, Trial, run_trial
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.types import Outputs

SETTING = "setting.json"


class Experiment:
    """The networks of one setting, each trained once and kept in a folder of its own.

        experiment = Experiment("mfh_gaussian", "runs/mine")
        alone, taught = experiment.student(ALONE), experiment.student("kd")
        gain = taught.test.accuracy - alone.test.accuracy

    What is finished is read, not trained again; what was killed continues from its checkpoint and
    ends with the same numbers.

    Args:
        name: of the setting.
        folder: of all its runs.
        setting: the setting itself, where none is registered under that name.
        data_root: folder that holds a folder for each data set.
        hardware: what to train on; the CPU when None.

    Raises:
        ValueError: no setting is given or registered under that name.
    """

    def __init__(
        self,
        name: str,
        folder: str | Path,
        setting: Setting | None = None,
        *,
        data_root: str | Path = "data",
        hardware: Hardware | None = None,
    ):
        self.name = name
        self.folder = Path(folder)
        self.setting = get_setting(name) if setting is None else setting
        self.data_root = Path(data_root)
        self.hardware = Hardware() if hardware is None else hardware
        self._load = lru_cache(maxsize=2)(self._load_split)
        self._audited = lru_cache(maxsize=2)(self._audit)
        self._taught = lru_cache(maxsize=2)(self._teach)
        self._cross_fitted = lru_cache(maxsize=4)(self._cross_fit)

    def student(self, method: str, seed: int = 0, **numbers: Any) -> Result:
        """Train a student, or read its result. Its teachers are trained before.

        Args:
            method: names of losses joined by "+", or one of `UNTAUGHT`.
            seed: of weights and order, and of the split where seeds have their own.
            **numbers: lr_factor, strength, labels, missing or groups; see `Trial`.

        Raises:
            ValueError: as `run` does.
        """
        return self.run(Trial(self.name, method, seed, **numbers))

    def teacher(self, modality: str, seed: int = 0) -> Result:
        """Train the teacher of a modality, or read its result."""
        return self.run(TeacherTrial(self.name, modality, seed))

    def run(self, trial: AnyTrial) -> Result:
        """Train the network of a trial into its folder, or read the result that is there.

        Raises:
            ValueError: a trial of another setting, an unknown method, data that cannot be trained
                on, or a folder whose runs were made with another setting.
            FloatingPointError: the training loss became NaN or infinite.
            RuntimeError: a teacher of the student failed.
        """
        if trial.setting != self.name:
            raise ValueError(
                f"this experiment is on setting {self.name!r}, got a trial of {trial.setting!r}"
            )
        self.check_folder()
        if isinstance(trial, Trial):
            prepare = partial(self._student, trial)
            return run_trial(trial, self.folder / trial.folder, prepare, self.hardware)
        prepare = partial(self._teacher, trial)
        result = run_trial(trial, self.folder / trial.folder, prepare, self.hardware)
        if self.setting.folds is not None:  # here, so that no two students do it at a time
            self._cross_fitted(trial.modality, trial.seed)
        return result

    def check_folder(self) -> None:
        """Write the setting into the folder, or compare it with the one that is written there.

        Raises:
            ValueError: the runs in the folder were made with another setting.
        """
        config = {**self.setting.config(), "precision": self.hardware.precision}
        check_config(self.folder, SETTING, config)

    def splits(self, seed: int = 0) -> Splits:
        """The audited parts that a seed trains, validates and tests on."""
        return self._audited(self.setting.split(seed))

    def network(self, modality: str, seed: int = 0) -> nn.Module:
        """The untrained encoder of the student's modality or of a teacher's."""
        train = self._load(self.setting.split(seed)).train
        return new_network(self.setting, train, modality, seed)

    def _load_split(self, split: int) -> Splits:
        splits = self.setting.load(self.data_root, split)
        check_disjoint(splits)
        return splits

    def _audit(self, split: int) -> Splits:
        student, teachers = (self.setting.student,), tuple(self.setting.teachers)
        parts = self._load(split)._asdict().items()
        return Splits(
            *(audit(part, required=student, optional=teachers, name=name) for name, part in parts)
        )

    def _teacher(self, trial: TeacherTrial) -> Training:
        setting = self.setting
        splits = Splits(*(only(part, trial.modality) for part in self.splits(trial.seed)))
        encoder = self.network(trial.modality, trial.seed)
        return Training(
            lambda: Distiller(encoder, None, CrossEntropy()),
            splits,
            setting,
            setting.teacher_epochs,
            setting.lr,
        )

    def _student(self, trial: Trial) -> Training:
        setting, seed = self.setting, trial.seed
        splits = Splits(*(only(part, setting.student) for part in self.splits(seed)))
        teachers: Mapping[str, nn.Module] = {}
        train = splits.train
        if trial.method not in UNTAUGHT:
            teachers, train = self._taught(seed)
            train = hide_teachers(train, teachers, trial.missing, seed)
        if trial.groups is not None:
            train = keep_labels_of(train, trial.groups, seed)
        train = hide_labels(train, trial.labels, seed)
        if trial.method == LABELLED:
            train = labelled_only(train)
        encoder = self.network(setting.student, seed)
        example = collate([train[0]])  # read before seeding, where an augmentation may draw

        def make() -> Distiller:
            if trial.method in UNTAUGHT:
                return Distiller(encoder, None, CrossEntropy())
            return Distiller(
                encoder,
                teachers,
                create_losses(trial.method, setting, trial.strength),
                num_classes=len(train.classes),
                num_samples=len(train),
                example=example,
            )

        lr = trial.lr_factor * setting.lr
        return Training(make, splits._replace(train=train), setting, setting.epochs, lr)

    def _teach(self, seed: int) -> tuple[Mapping[str, nn.Module], PairedDataset]:
        """The teachers of a seed, and the training rows with their outputs instead of inputs."""
        teachers, train = {}, self.splits(seed).train
        for modality in self.setting.teachers:
            trial = TeacherTrial(self.name, modality, seed)
            folder = self.folder / trial.folder
            done = read_outcome(folder)
            if isinstance(done, Failure):
                raise RuntimeError(f"the teacher on {modality} failed: {done.error}")
            self.run(trial)
            teachers[modality] = self.network(modality, seed)
            load_weights(teachers[modality], folder / WEIGHTS)
            hidden = [layer for _, layer in self.setting.layers]
            if self.setting.folds is None:
                teacher = teachers[modality]
                train = cache_teacher(train, teacher, modality, root=folder, hidden=hidden)
            else:
                train = train.with_outputs(modality, self._cross_fitted(modality, seed))
        return teachers, train

    def _cross_fit(self, modality: str, seed: int) -> Outputs:
        """What teachers say about the training rows whose groups' labels they did not see."""
        from xdistill.engine.cross_fit import cross_fit_teacher  # it imports Lightning

        setting = self.setting
        folder = self.folder / TeacherTrial(self.name, modality, seed).folder
        crossed = cross_fit_teacher(
            self.splits(seed).train,
            lambda: self.network(modality, seed),
            modality,
            folds=setting.folds or 0,
            hidden=[layer for _, layer in setting.layers],
            batch_size=setting.batch_size,
            seed=seed,
            root=folder,
            run_dir=folder / "folds",
            resume=True,
            max_epochs=setting.teacher_epochs,
            lr=setting.lr,
            monitor=setting.monitor,
            check_data=False,
            gradient_clip_val=5.0,
            **self.hardware.trainer_options(),
        )
        return crossed.dataset.cached[modality]
