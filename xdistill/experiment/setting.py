"""A setting: which data, who teaches whom, with which networks, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.experiment.hidden_layers import Pairs
from xdistill.registry import settings

# CRD's own number, 16,384 negatives per row, would take minutes where other losses take seconds;
# SACD's bank of 4,096 would hold every row of these small sets many times.
SHORT_RUNS: Mapping[str, Mapping[str, Any]] = {
    "crd": {"num_negatives": 256},
    "sacd": {"bank_size": 512},
}


PRECOMPUTED = "precomputed"
"""The encoder of a teacher who is not here: the data hold its outputs (`xdistill.precomputed`)."""


@dataclass(frozen=True)
class Setting:
    """A student of one data set and its teachers, trained the same way with every method.

    Attributes:
        load: returns the three parts, given the folder of all data sets and the number of the
            split.
        teachers: encoder of each teacher, by its modality; `PRECOMPUTED` for outputs of the data.
        student: modality of the student.
        encoder: encoder of the student.
        options: further options of `create_encoder`, by modality.
        layers: pairs of hidden layers, student's and teacher's, for losses that compare them.
        own_splits: each seed has a split of its own (a fold, or a generated problem), and therefore
            a search of its own. Otherwise the split is fixed and seed 0 searches for all seeds.
        epochs: of every student.
        teacher_epochs: of every teacher.
        batch_size: rows per training step; an evaluation step has twice as many.
        labelled_per_batch: labelled rows of a step where a student has some labels and some rows
            without, so that the task sees labels in every step; None mixes rows as they come.
        balanced: draw those labelled rows of every class equally often.
        weighted: weigh the task's cross-entropy so that all classes count the same.
        few_labels: share of the labels that the suite leaves to students where it is not told one.
        folds: of the cross-fitted case: the groups of the pairs are dealt into so many, or one each
            where there are fewer groups.
        fold_rows: deal rows instead of groups into the folds, for pairs of very few groups: no row
            is taught by a teacher that saw it, but by one that saw others of its group.
        teacher_share: share of the training groups that is set aside for the transfer case's
            teacher. In every case the other groups are the pairs, so that the cases differ in what
            the teacher saw alone.
        teacher_load: rows of another corpus that the transfer case's teacher is trained on instead,
            given the folder of all data sets and the number of the split. They need the teachers'
            modalities and the same classes.
        lr: peak learning rate, which a search varies.
        monitor: validation metric that chooses the epoch.
        warmup_share: the longest warm-up of a loss, as a share of the epochs; None leaves every
            recommended warm-up as it is.
        loss_options: options of losses that differ from their defaults, by the loss's name.

    Raises:
        ValueError: no epoch, batches of fewer than two rows, fewer than three folds, a share out of
            range, balanced classes without `labelled_per_batch`, no teacher, or one of the
            student's modality.
    """

    load: Callable[[Path, int], Splits]
    teachers: Mapping[str, str]
    student: str
    encoder: str = "mlp"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    layers: Pairs = ()
    own_splits: bool = True
    epochs: int = 10
    teacher_epochs: int = 10
    batch_size: int = 64
    labelled_per_batch: int | None = None
    balanced: bool = False
    weighted: bool = False
    few_labels: float = 0.02
    folds: int = 4
    fold_rows: bool = False
    teacher_share: float = 0.0
    teacher_load: Callable[[Path, int], PairedDataset] | None = None
    lr: float = 2e-3
    monitor: str = "val/macro_f1"
    warmup_share: float | None = 0.25
    loss_options: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: SHORT_RUNS)

    def __post_init__(self) -> None:
        counts = {"epochs": 1, "teacher_epochs": 1, "batch_size": 2, "folds": 3}
        for name, least in counts.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} of a setting must be at least {least}, got {getattr(self, name)}"
                )
        if not 0 <= self.teacher_share < 1 or not 0 < self.few_labels <= 1:
            raise ValueError(
                f"teacher_share of a setting must be from 0 to below 1, and few_labels above 0 and "
                f"at most 1, got {self.teacher_share} and {self.few_labels}"
            )
        if self.balanced and self.labelled_per_batch is None:
            raise ValueError(
                "balanced draws the labelled rows of a batch, so it needs labelled_per_batch; set "
                "both (--labelled-per-batch 16 --balanced)"
            )
        if not self.teachers or self.student in self.teachers:
            raise ValueError(
                "a setting needs teachers of other modalities than the student's, got student "
                f"{self.student!r} and teachers {dict(self.teachers)}"
            )

    def split(self, seed: int) -> int:
        """The number of the split that a seed trains on."""
        return seed if self.own_splits else 0

    def encoder_of(self, modality: str) -> str:
        """The encoder of the student's modality or of a teacher's."""
        return self.encoder if modality == self.student else self.teachers[modality]

    def config(self) -> dict[str, Any]:
        """What a file keeps of it: all that finished runs follow from, but the functions."""
        left_out = ("load", "teacher_load", "few_labels")
        if not self.weighted:  # so that runs from before there was such a choice go on
            left_out += ("weighted",)
        return {
            one.name: getattr(self, one.name) for one in fields(self) if one.name not in left_out
        }


def register_setting(name: str, setting: Setting) -> Setting:
    """Give a setting a name, under which the suite and `Experiment` find it.

    A package publishes its settings through the entry-point group "xdistill.settings" instead.

    Args:
        name: the data set's, with a hyphen and a suffix where a data set has several settings.
        setting: what to register.

    Raises:
        ValueError: the name is taken.
    """
    load = getattr(setting.load, "func", setting.load)  # of a partial, the function
    return settings.register(name, provider=str(getattr(load, "__module__", "?")))(setting)


def get_setting(name: str) -> Setting:
    """The setting of that name.

    Raises:
        ValueError: unknown name, with the near ones.
        ImportError: the plugin behind the name cannot be imported.
        ValueError: the entry point leads to something other than a Setting.
    """
    found = settings.get(name)
    if not isinstance(found, Setting):
        raise ValueError(
            f"setting {name!r} from {settings.provider(name)} is a {type(found).__name__}; the "
            "entry point must lead to an xdistill.experiment.Setting"
        )
    return found
