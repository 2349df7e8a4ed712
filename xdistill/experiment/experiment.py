"""All networks of one setting: its data and its teachers, shared by the trials that need them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from torch import nn

from xdistill.data.audit import audit
from xdistill.data.cache import cache_teacher
from xdistill.data.collate import collate
from xdistill.data.digest import data_digest
from xdistill.data.labels import hide_labels, keep_labels_of
from xdistill.data.paired import PairedDataset
from xdistill.data.refine import TARGETS
from xdistill.data.splits import Splits, check_disjoint
from xdistill.distiller import Distiller
from xdistill.encoders.checkpoint import load_weights
from xdistill.experiment.case import DEFAULT_CASE, Case, Parts, check_case, folds_of, set_aside
from xdistill.experiment.hardware import Hardware
from xdistill.experiment.methods import LABELLED, RECIPE, UNTAUGHT, create_losses, losses_of
from xdistill.experiment.networks import new_network
from xdistill.experiment.rows import (
    epoch_rows,
    hide_teachers,
    labelled_only,
    only,
    precomputed_scores,
)
from xdistill.experiment.run_folder import (
    WEIGHTS,
    Failure,
    Result,
    check_config,
    main_process,
    read_outcome,
    wait_for_main_process,
    write_outcome,
)
from xdistill.experiment.setting import PRECOMPUTED, Setting, get_setting
from xdistill.experiment.targets import Given, prepare_targets
from xdistill.experiment.trial import AnyTrial, TeacherTrial, Training, Trial, run_trial
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.precomputed_teacher import PrecomputedTeacher
from xdistill.types import Outputs

SETTING = "setting.json"
DATA = "data_of_split_{}.json"
TEACHER_DATA = "teacher_data_of_split_{}.json"


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
        self._check_data = lru_cache(maxsize=None)(self._compare_data)
        self._audited = lru_cache(maxsize=2)(self._audit)
        self._parts = lru_cache(maxsize=2)(self._divide)
        self._taught = lru_cache(maxsize=2)(self._teach)

    def student(self, method: str, seed: int = 0, **numbers: Any) -> Result:
        """Train a student, or read its result. Its teachers are trained before.

        Args:
            method: names of losses joined by "+", one of `UNTAUGHT`, or `RECIPE`.
            seed: of weights and order, and of the split where seeds have their own.
            **numbers: lr_factor, strength, labels, missing, groups, case, epochs or targets; see
                `Trial`. The recipe without targets trains on all of them and keeps the best.

        Raises:
            ValueError: as `run` does.
        """
        return self.run(self.trial(method, seed, **numbers))

    def trial(self, method: str, seed: int = 0, **numbers: Any) -> Trial:
        """The trial that `student` reports; for the recipe that which validation prefers."""
        first = Trial(self.name, method, seed, **numbers)
        if method != RECIPE or "targets" in numbers:
            return first
        metric = self.setting.monitor.removeprefix("val/")
        tried = [replace(first, targets=targets) for targets in TARGETS]
        return max(tried, key=lambda one: getattr(self.run(one).val, metric))

    def teacher(self, modality: str, seed: int = 0, case: Case = DEFAULT_CASE) -> Result:
        """Train the teacher of a modality, or read its result."""
        return self.run(TeacherTrial(self.name, modality, seed, case=case))

    def run(self, trial: AnyTrial) -> Result:
        """Train the network of a trial into its folder, or read the result that is there.

        Raises:
            ValueError: a trial of another setting, an unknown method, a case that the setting has
                no teacher for, data that cannot be trained on, or a folder whose runs were made
                with another setting or other data.
            FloatingPointError: the training loss became NaN or infinite.
            RuntimeError: a teacher of the student failed.
        """
        if trial.setting != self.name:
            raise ValueError(
                f"this experiment is on setting {self.name!r}, got a trial of {trial.setting!r}"
            )
        check_case(trial.case, self.setting)
        self.check_folder()
        self._check_data(self.setting.split(trial.seed))
        if isinstance(trial, Trial):
            prepare = partial(self._student, trial)
        elif self.setting.teachers.get(trial.modality) == PRECOMPUTED:
            return self._precomputed_teacher(trial)
        elif trial.case == "cross_fitted":
            return self._cross_fitted_teacher(trial)
        else:
            prepare = partial(self._teacher, trial)
        return run_trial(trial, self.folder / trial.folder, prepare, self.hardware)

    def check_folder(self) -> None:
        """Write the setting into the folder, or compare it with the one that is written there.

        Raises:
            ValueError: the runs in the folder were made with another setting.
        """
        config = {**self.setting.config(), "precision": self.hardware.precision}
        check_config(self.folder, SETTING, config)

    def check_data(self) -> None:
        """Compare the data with that of the runs in the folder, where it can be read.

        Raises:
            ValueError: the runs in the folder were made with other data.
        """
        split = self.setting.split(0)
        if self._data_file(split).exists():
            self._check_data(split)

    def _compare_data(self, split: int) -> None:
        """Write a digest of a split's parts into the folder, or compare it with what is there."""
        try:
            splits = self._load(split)
        except Exception:  # a trial that reads it fails with the same error
            return
        digests = {name: data_digest(part) for name, part in splits._asdict().items()}
        check_config(self.folder, self._data_file(split).name, digests, what="data")

    def _data_file(self, split: int) -> Path:
        return self.folder / DATA.format(split)

    def splits(self, seed: int = 0) -> Splits:
        """The audited parts that a seed trains students on (the pairs), validates and tests on."""
        return self._audited(self.setting.split(seed))._replace(train=self._parts(seed).pairs)

    def pairs(self, trial: Trial) -> tuple[PairedDataset, Mapping[str, nn.Module]]:
        """The rows that a student is trained on, with the labels that it sees, and its teachers.

        Teachers are trained where they are not yet. The rows hold their outputs instead of their
        inputs; a method without a teacher has neither.
        """
        seed, teachers = trial.seed, {}
        if trial.method in UNTAUGHT:
            train = only(self.splits(seed).train, self.setting.student)
        else:
            teachers, train = self._taught(seed, trial.case)
            train = hide_teachers(train, teachers, trial.missing, seed)
        if trial.groups is not None:
            train = keep_labels_of(train, trial.groups, seed)
        return hide_labels(train, trial.labels, seed), teachers

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

    def _divide(self, seed: int) -> Parts:
        train = self._audited(self.setting.split(seed)).train
        return set_aside(train, self.setting.teacher_share, seed)

    def _rows_of_teacher(self, trial: TeacherTrial) -> PairedDataset:
        """What a teacher is trained on: the pairs, rows set aside, or another corpus."""
        parts, load = self._parts(trial.seed), self.setting.teacher_load
        if trial.case != "transfer":
            return parts.pairs
        if load is None:
            assert parts.teacher is not None  # check_case has refused it
            return parts.teacher
        split = self.setting.split(trial.seed)
        foreign = load(self.data_root, split)
        digest = {"teacher": data_digest(foreign)}
        check_config(self.folder, TEACHER_DATA.format(split), digest, what="data")
        if foreign.classes != parts.pairs.classes:
            raise ValueError(
                f"the teacher's corpus has the classes {foreign.classes} and the pairs "
                f"{parts.pairs.classes}; map them to the same ones in the same order"
            )
        return audit(foreign, optional=(trial.modality,), name="the teacher's corpus")

    def _teacher(self, trial: TeacherTrial) -> Training:
        setting = self.setting
        splits = self.splits(trial.seed)._replace(train=self._rows_of_teacher(trial))
        splits = Splits(*(only(part, trial.modality) for part in splits))
        encoder = self.network(trial.modality, trial.seed)
        return Training(
            lambda: Distiller(encoder, None, CrossEntropy()),
            splits,
            setting,
            setting.teacher_epochs,
            setting.lr,
        )

    def _precomputed_teacher(self, trial: TeacherTrial) -> Result:
        """The scores of outputs that the data hold.

        Raises:
            ValueError: another case than the default, since it is not known what the teacher saw.
        """
        if trial.case != DEFAULT_CASE:
            raise ValueError(
                f"the outputs of the {trial.modality!r} teacher are precomputed, so it cannot be "
                f"trained for the case {trial.case!r}; leave --case at {DEFAULT_CASE}"
            )
        folder = self.folder / trial.folder
        done = read_outcome(folder)
        if isinstance(done, Result):
            return done
        _, val, test = self.splits(trial.seed)
        found = [precomputed_scores(part, trial.modality) for part in (val, test)]
        result = Result(found[0].scored, found[1].scored, 0, 0.0, [], found[1].predicted.tolist())
        if main_process():
            write_outcome(folder, trial, result)
        wait_for_main_process()
        return result

    def _cross_fitted_teacher(self, trial: TeacherTrial) -> Result:
        """The in-sample teacher; the teachers of folds are trained beside it.

        They are trained here, so that no two students do it at a time.
        """
        folder = self.folder / trial.folder
        done = read_outcome(folder)
        if isinstance(done, Result):
            return done
        result = self.run(replace(trial, case="in_sample"))
        begin = time.perf_counter()
        self._cross_fit(trial.modality, trial.seed)
        result = replace(result, seconds=round(time.perf_counter() - begin, 2))
        if main_process():
            write_outcome(folder, trial, result)
        wait_for_main_process()
        return result

    def _student(self, trial: Trial) -> Training:
        setting, seed = trial.lasting(self.setting), trial.seed
        splits = Splits(*(only(part, setting.student) for part in self.splits(seed)))
        train, teachers = self.pairs(trial)
        if trial.method == LABELLED:
            shown = epoch_rows(train, setting.batch_size, setting.labelled_per_batch)
            train = labelled_only(train, shown)
        given = Given(setting.student, partial(self._trained, trial), seed)
        train = prepare_targets(f"{trial.targets}+{trial.method}", train, teachers, given)
        encoder = self.network(setting.student, seed)
        example = collate([train[0]])  # read before seeding, where an augmentation may draw
        task = CrossEntropy.balanced(train) if setting.weighted else CrossEntropy()

        def make() -> Distiller:
            if trial.method in UNTAUGHT:
                return Distiller(encoder, None, task)
            return Distiller(
                encoder,
                teachers,
                create_losses(trial.method, setting, trial.strength, task),
                num_classes=len(train.classes),
                num_samples=len(train),
                example=example,
            )

        lr = trial.lr_factor * setting.lr
        return Training(make, splits._replace(train=train), setting, setting.epochs, lr)

    def _trained(self, trial: Trial) -> nn.Module:
        """The student that learned from the teacher's own outputs.

        Where its trial is not finished it is trained inside the other's folder, since another
        process may be at it.
        """
        own = replace(trial, method=losses_of(trial.method), targets="own")
        folder = self.folder / own.folder
        if not isinstance(read_outcome(folder), Result):
            folder = self.folder / trial.folder / "own"
            run_trial(own, folder, partial(self._student, own), self.hardware)
        encoder = self.network(self.setting.student, trial.seed)
        load_weights(encoder, folder / WEIGHTS)
        return encoder

    def _teach(self, seed: int, case: Case) -> tuple[Mapping[str, nn.Module], PairedDataset]:
        """The teachers of a seed, and the pairs with their outputs instead of inputs."""
        teachers, train = {}, self.splits(seed).train
        for modality in self.setting.teachers:
            if self.setting.teachers[modality] == PRECOMPUTED:
                width = train.cached[modality].embedding.shape[-1]
                teachers[modality] = PrecomputedTeacher(modality, width)
                continue
            trial = TeacherTrial(self.name, modality, seed, case=case)
            done = read_outcome(self.folder / trial.folder)
            if isinstance(done, Failure):
                raise RuntimeError(f"the teacher on {modality} failed: {done.error}")
            self.run(trial)
            teachers[modality] = self.network(modality, seed)
            crossed = case == "cross_fitted"
            trained = self.folder / (replace(trial, case="in_sample") if crossed else trial).folder
            load_weights(teachers[modality], trained / WEIGHTS)
            if crossed:
                outputs = self._cross_fit(modality, seed)
                train = train.with_outputs(modality, outputs)
            else:
                layers = [layer for _, layer in self.setting.layers]
                teacher = teachers[modality]
                train = cache_teacher(train, teacher, modality, root=trained, hidden=layers)
        return teachers, train

    def _cross_fit(self, modality: str, seed: int) -> Outputs:
        """What teachers say about the pairs whose labels they did not see."""
        from xdistill.engine.cross_fit import cross_fit_teacher  # it imports Lightning

        setting, pairs = self.setting, self.splits(seed).train
        if setting.fold_rows:
            pairs = pairs.replace(group=None)
        folder = self.folder / TeacherTrial(self.name, modality, seed, case="cross_fitted").folder
        crossed = cross_fit_teacher(
            pairs,
            lambda: self.network(modality, seed),
            modality,
            folds=folds_of(pairs, setting.folds),
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
