"""The settings of the suite: which data, who teaches whom, and how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

import xdistill as xd
from xdistill.data.augment import flip_and_shift
from xdistill.data.splits import Splits


@dataclass(frozen=True)
class Setting:
    """One teacher-student pair of one data set, the same for every method.

    Attributes:
        load: the three parts, from the folder of all data and the number of the split.
        teachers: encoder of each teacher, by its modality.
        student: modality of the student.
        encoder: encoder of the student.
        options: further options of `create_encoder`, by modality.
        own_splits: each seed has a split of its own (a fold, or a drawn problem), and so a search
            of its own. Otherwise the split is fixed and the search is seed 0's.
        epochs: of every student.
        teacher_epochs: of the teacher.
        batch_size: rows per step.
        lr: peak learning rate in the middle of the search.
    """

    load: Callable[[Path, int], Splits]
    teachers: Mapping[str, str]
    student: str
    encoder: str = "mlp"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    own_splits: bool = True
    epochs: int = 10
    teacher_epochs: int = 10
    batch_size: int = 64
    lr: float = 2e-3


SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def _folder(root: Path, *names: str) -> Path:
    """The first of some folders that is there."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _sleep_edf(root: Path, split: int, *, student: str) -> Splits:
    """Every third epoch of the training nights: neighbours are alike, and it takes a third."""
    whole = xd.create_dataset(
        "sleep_edf_features",
        root=_folder(root, "sleep_edf_features", "sleep_edf_sc_features"),
        modalities=("eeg_eog", student),
        fold=split % 5,
    )
    return whole._replace(train=whole.train.subset(range(0, len(whole.train), 3)))


def _av_digits(root: Path, split: int) -> Splits:
    home = _folder(root, "av_digits", ".")
    splits = xd.create_dataset(
        "av_digits",
        root=home,
        mnist=_folder(home, "mnist", "mnist_test"),
        images="t10k",
        split="speakers",
        val_speakers=[SPEAKERS[(split + 1) % 6]],
        test_speakers=[SPEAKERS[split % 6]],
        size=4,
        seed=split,
    )
    flat = {"image": torch.flatten}  # 16 numbers
    return Splits(*(part.replace(transforms=flat) for part in splits))


def _uci_mfeat(root: Path, split: int, *, teacher: str) -> Splits:
    return xd.create_dataset(
        "uci_mfeat", root=_folder(root, "uci_mfeat"), views=(teacher, "mor"), fold=split % 5
    )


def _mfh_gaussian(root: Path, split: int) -> Splits:
    return xd.create_dataset("mfh_gaussian", gamma=0.54, seed=split)


def _utd_mhad(root: Path, split: int, *, teachers: tuple[str, ...]) -> Splits:
    return xd.create_dataset(
        "utd_mhad",
        root=_folder(root, "utd_mhad"),
        modalities=("depth", *teachers),
        frames=8,
        size=(32, 24),
    )


def _s3ve_sample(root: Path, split: int) -> Splits:
    """Every fourth clip for training and validation: a quarter of the time, the same sleepers."""
    whole = xd.create_dataset("s3ve", size=24)
    train = whole.train.replace(transforms={"video": flip_and_shift})
    train, val = (part.subset(range(0, len(part), 4)) for part in (train, whole.val))
    return Splits(train, val, whole.test)


def _sleep_edf_setting(student: str) -> Setting:
    return Setting(
        partial(_sleep_edf, student=student),
        {"eeg_eog": "mlp"},
        student,
        epochs=3,
        teacher_epochs=5,
    )


def _uci_mfeat_setting(teacher: str) -> Setting:
    return Setting(partial(_uci_mfeat, teacher=teacher), {teacher: "mlp"}, "mor", epochs=15)


def _utd_mhad_setting(*teachers: str) -> Setting:
    return Setting(
        partial(_utd_mhad, teachers=teachers),
        {name: f"{name}_small" for name in teachers},
        "depth",
        "video_small",
        {"depth": {"modality": "depth"}, "skeleton": {"joints": 20}},
        own_splits=False,
        epochs=30,
        teacher_epochs=40,
        batch_size=16,
    )


SETTINGS = {
    "s3ve": Setting(
        _s3ve_sample,
        {"eeg": "eeg_small"},
        "video",
        "video_small",
        own_splits=False,
        epochs=6,
        teacher_epochs=8,
        batch_size=16,
    ),
    "utd_mhad-inertial": _utd_mhad_setting("inertial"),
    "utd_mhad-skeleton": _utd_mhad_setting("skeleton"),
    "utd_mhad-both": _utd_mhad_setting("inertial", "skeleton"),
    "sleep_edf_features-eog": _sleep_edf_setting("eog"),
    "sleep_edf_features-eeg_pz": _sleep_edf_setting("eeg_pz"),
    "sleep_edf_features-eog_basic": _sleep_edf_setting("eog_basic"),
    "av_digits": Setting(
        _av_digits,
        {"audio": "audio_small"},
        "image",
        epochs=15,
        teacher_epochs=8,
    ),
    "uci_mfeat-fac": _uci_mfeat_setting("fac"),
    "uci_mfeat-pix": _uci_mfeat_setting("pix"),
    "mfh_gaussian": Setting(
        _mfh_gaussian, {"teacher": "mlp"}, "student", epochs=30, teacher_epochs=30, batch_size=32
    ),
}
"""Every setting by name: the data set, and after a hyphen what tells its pairs apart."""


def chosen_settings(names: tuple[str, ...]) -> dict[str, Setting]:
    """The settings of these names; the name of a data set stands for all its pairs.

    Raises:
        ValueError: a name that is neither.
    """
    found = {}
    for name in names:
        matching = {
            key: one for key, one in SETTINGS.items() if name in (key, key.partition("-")[0])
        }
        if not matching:
            raise ValueError(
                f"unknown data set {name!r}; choose from {', '.join(SETTINGS)}, or the part before "
                "the hyphen for all pairs of a data set"
            )
        found |= matching
    return found
