"""The settings of the suite, each registered under its name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import torch

from xdistill.data.augment import flip_and_shift
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.experiment.setting import Setting, get_setting, register_setting
from xdistill.registry import create_dataset, list_settings

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def _folder(root: Path, *names: str) -> Path:
    """The first of these folders that exists, or else the first."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _sleep_edf(root: Path, split: int, *, student: str) -> Splits:
    """Every third epoch of the training nights: neighbours are alike, and a third is faster."""
    whole = create_dataset(
        "sleep_edf_features",
        root=_folder(root, "sleep_edf_features", "sleep_edf_sc_features"),
        modalities=("eeg_eog", student),
        fold=split % 5,
    )
    return whole._replace(train=whole.train.subset(range(0, len(whole.train), 3)))


def _av_digits(root: Path, split: int) -> Splits:
    home = _folder(root, "av_digits", ".")
    splits = create_dataset(
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
    return Splits(*(_as_numbers(part) for part in splits))


def _as_numbers(part: PairedDataset) -> PairedDataset:
    """Each image as 16 numbers, which are no image any more."""
    inputs = {"audio": part.inputs["audio"], "pixels": part.inputs["image"]}
    return part.replace(inputs=inputs, transforms={"pixels": torch.flatten})


def _uci_mfeat(root: Path, split: int, *, teacher: str, student: str) -> Splits:
    return create_dataset(
        "uci_mfeat", root=_folder(root, "uci_mfeat"), modalities=(teacher, student), fold=split % 5
    )


def _mfh_gaussian(root: Path, split: int) -> Splits:
    return create_dataset("mfh_gaussian", gamma=0.54, seed=split)


def _utd_mhad(root: Path, split: int, *, teachers: tuple[str, ...]) -> Splits:
    return create_dataset(
        "utd_mhad",
        root=_folder(root, "utd_mhad"),
        modalities=("depth", *teachers),
        frames=8,
        size=(32, 24),
    )


def _s3ve_sample(root: Path, split: int) -> Splits:
    """Every fourth clip for training and validation: a quarter of the time, the same sleepers."""
    whole = create_dataset("s3ve", size=24)
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
        labelled_per_batch=16,
    )


def _uci_mfeat_setting(teacher: str, student: str = "mor") -> Setting:
    load = partial(_uci_mfeat, teacher=teacher, student=student)
    return Setting(load, {teacher: "mlp"}, student, epochs=15, labelled_per_batch=16)


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
        labelled_per_batch=4,
        few_labels=0.25,
        fold_rows=True,  # of three subjects
    )


OURS: Mapping[str, Setting] = MappingProxyType(
    {
        "s3ve": Setting(
            _s3ve_sample,
            {"eeg": "eeg_small"},
            "video",
            "video_small",
            own_splits=False,
            epochs=6,
            teacher_epochs=8,
            batch_size=16,
            labelled_per_batch=4,
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
            "pixels",
            epochs=15,
            teacher_epochs=8,
            labelled_per_batch=16,
            fold_rows=True,  # of four speakers
        ),
        "uci_mfeat-fac": _uci_mfeat_setting("fac"),
        "uci_mfeat-pix": _uci_mfeat_setting("pix"),
        "uci_mfeat-fou_zer": _uci_mfeat_setting("fou", "zer"),
        "uci_mfeat-mor_fac": _uci_mfeat_setting("mor", "fac"),
        "uci_mfeat-zer_kar": _uci_mfeat_setting("zer", "kar"),
        "mfh_gaussian": Setting(
            _mfh_gaussian,
            {"teacher": "mlp"},
            "student",
            epochs=30,
            teacher_epochs=30,
            batch_size=32,
            labelled_per_batch=8,
            few_labels=0.1,
        ),
    }
)
"""By name, in the order of the tables: the data set, and a suffix where it has several pairs."""

for _name, _setting in OURS.items():
    register_setting(_name, _setting)


def chosen_settings(names: tuple[str, ...]) -> dict[str, Setting]:
    """The settings of these names, plugins' included.

    Args:
        names: of settings, or of data sets ("utd_mhad") for all their settings.

    Raises:
        ValueError: a name that is neither.
        ImportError: the plugin behind a name cannot be imported.
    """
    known = dict.fromkeys((*OURS, *list_settings()))
    found: dict[str, Setting] = {}
    for name in names:
        matching = [key for key in known if name in (key, key.partition("-")[0])]
        found |= {key: get_setting(key) for key in matching or [name]}
    return found
