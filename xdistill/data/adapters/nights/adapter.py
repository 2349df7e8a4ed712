"""Nights of one's own laboratory, as `xdistill prepare` writes them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from xdistill.data.adapters.nights.column import NightColumn
from xdistill.data.adapters.nights.folder import PREPARED, read_prepared
from xdistill.data.adapters.nights.layout import (
    FACTS,
    NIGHTS,
    SIGNALS,
    NightRecord,
    night_folder,
    read_night,
    usable,
)
from xdistill.data.adapters.nights.parts import split_sleepers
from xdistill.data.cards import DatasetCard
from xdistill.data.labels import keep_labels_of
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.precomputed import precomputed
from xdistill.data.sleep_stages import STAGES
from xdistill.data.splits import Splits
from xdistill.registry import register_dataset

Judge = Literal["scored", "yasa"]
CARD = DatasetCard(
    name="nights",
    pairs=(("eeg", "video"), ("eeg", "body")),
    classes=len(STAGES),
    size="as many nights as a laboratory has recorded",
    licence="the laboratory's own",
    citation="none: your own recordings",
    source_url="https://pypi.org/project/xdistill/",
    files=(PREPARED, f"{NIGHTS}/*/{FACTS}"),
)
MODALITIES = ("video", "body", *SIGNALS)


@register_dataset(CARD)
def nights(
    root: str | Path,
    *,
    modalities: Sequence[str] | None = None,
    labels: Judge | Sequence[str] = "scored",
    judge: Judge | None = None,
    teacher: Literal["yasa"] | None = None,
    exclude: Sequence[str] = (),
    sees: Sequence[str] = (),
    val_subjects: Sequence[str] = (),
    test_subjects: Sequence[str] = (),
    folds: int | None = None,
    fold: int = 0,
    check: bool = True,
    seed: int = 0,
) -> Splits:
    """Prepared nights as three paired datasets with disjoint subjects.

    Rows are epochs of 30 s, by subject, night and time; several nights of a subject stay in one
    part. A row is called ``<night>/<epoch>``, and its `start_s` counts from the night's first
    epoch. Arrays stay in their files until a row is read.

    - ``video`` float32 [1, T, S, S] from 0 to 1.
    - ``body`` float32 [C, L]: breathing and activity, as `VideoOptions.body_channels` names them.
    - ``eeg``, ``eog``, ``emg`` float32 [c, 3000] in µV, ``resp`` float32 [c, 750].

    An epoch without a clip, or with a signal that is not finite, lacks that modality.

    Args:
        root: the prepared folder.
        modalities: of the above. None is those that all nights have.
        labels: whose stages are learned from: the scorer's, YASA's, or the scorer's for these
            subjects alone, while the others' epochs stay as unlabelled ones.
        judge: whose stages validation and test count. None is "yasa" with labels "yasa", otherwise
            "scored".
        teacher: "yasa" gives YASA's probabilities as the outputs of an EEG teacher, in the place
            of ``eeg`` (see `xdistill.precomputed`).
        exclude: marks; epochs with any of them are not trained on, and a warning counts them.
            Validation and test keep them.
        sees: modalities of the student; a sleeper without any scored epoch that has them all is for
            training, as one without labels.
        val_subjects: who is for validation.
        test_subjects: who is held out to the end.
        folds: deal the sleepers with labels into so many folds instead.
        fold: which fold is held out to the end; the next one is for validation.
        check: compare every file with its checksum.
        seed: where no subjects are named and there are no folds, the split follows from it.

    Raises:
        FileNotFoundError: the folder or a night in it is missing.
        ValueError: an option is out of range, a night is damaged or unlike the others, or there
            are too few sleepers with labels.
    """
    records = _records(Path(root).expanduser(), check)
    judge = judge or ("yasa" if labels == "yasa" else "scored")
    for name, one in (
        ("labels", labels if isinstance(labels, str) else "scored"),
        ("judge", judge),
    ):
        if one not in ("scored", "yasa"):
            raise ValueError(f"{name} is 'scored', 'yasa' or subjects in a list, got {one!r}")
    names = _modalities(records, modalities, teacher)
    dataset = _paired(Path(root).expanduser(), records, names, judge)
    if teacher == "yasa":
        dataset = _with_yasa(dataset, records)
    kept = () if isinstance(labels, str) else tuple(labels)
    splits = split_sleepers(
        dataset,
        sees=check_modalities(sees, names) if sees else (),
        val_subjects=val_subjects,
        test_subjects=test_subjects,
        folds=folds,
        fold=fold,
        kept_for_training=kept,
        seed=seed,
    )
    train = _labelled(splits.train, records, labels)
    return splits._replace(train=_without(train, records, exclude))


def _records(root: Path, check: bool) -> list[NightRecord]:
    """The complete nights by subject and time."""
    prepared = read_prepared(root)
    failed = [name for name, night in prepared.nights.items() if night.status != "done"]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(prepared.nights)} nights were not prepared and are left out "
            f"({', '.join(failed[:3])}); {PREPARED} says why",
            stacklevel=4,
        )
    if not prepared.done:
        raise ValueError(f"{root} holds no complete night; prepare at least three")
    records = [read_night(root, name, check=check) for name in prepared.done]
    return sorted(records, key=lambda one: (one.subject, one.start or "", one.name))


def _modalities(
    records: Sequence[NightRecord], given: Sequence[str] | None, teacher: str | None
) -> tuple[str, ...]:
    if teacher not in (None, "yasa"):
        raise ValueError(f"teacher is 'yasa' or None, got {teacher!r}")
    held = {"video": [r.video for r in records], "body": [r.body for r in records]}
    held |= {kind: [r.signals.get(kind) for r in records] for kind in SIGNALS}
    full = [name for name in MODALITIES if all(array is not None for array in held[name])]
    names = tuple(full) if given is None else check_modalities(given, MODALITIES)
    if not names:
        raise ValueError("the nights have no modality in common; name one that some of them have")
    for name in names:
        shapes = {array.shape[1:] for array in held[name] if array is not None}
        if len(shapes) != 1:
            raise ValueError(
                f"the nights have {name} of the shapes {sorted(shapes)}, expected one; prepare "
                "them with the same options and channels"
                if shapes
                else f"none of the {len(records)} nights has {name}; they have {full}"
            )
    return names


def _paired(
    root: Path, records: Sequence[NightRecord], names: Sequence[str], judge: Judge
) -> PairedDataset:
    lengths = [len(record.marks) for record in records]
    columns: dict[str, Any] = {}
    valid: dict[str, torch.Tensor] = {}
    for name in names:
        paths = [night_folder(root, record.name) / f"{name}.npy" for record in records]
        files = [path if path.exists() else None for path in paths]
        columns[name] = NightColumn(files, lengths, clips=name == "video")
        has = np.concatenate([usable(record, name) for record in records])
        if not has.all():
            valid[name] = torch.from_numpy(has)
    return PairedDataset(
        columns,
        torch.from_numpy(np.concatenate([stages_of(record, judge) for record in records])),
        classes=STAGES,
        group=[record.subject for record in records for _ in record.marks],
        valid=valid,
        ids=[
            row_id(record.name, epoch) for record in records for epoch in range(len(record.marks))
        ],
        start_s=np.concatenate([record.start_s for record in records]),
    )


def stages_of(record: NightRecord, judge: Judge) -> np.ndarray:
    """int64 [E] the stages that a scorer or YASA gave, -1 where there are none."""
    if judge == "scored":
        return record.stages.astype(np.int64)
    if record.yasa is None:
        return np.full(len(record.marks), -1)
    staged = ~np.isnan(record.yasa).any(axis=1)
    return np.where(staged, np.nan_to_num(record.yasa).argmax(axis=1), -1)


def row_id(night: str, epoch: int) -> str:
    """The name of a row."""
    return f"{night}/{epoch:04d}"


def night_and_epoch(name: str) -> tuple[str, int]:
    """The night and the epoch of a row, by its name."""
    night, _, epoch = name.rpartition("/")
    return night, int(epoch)


def _with_yasa(dataset: PairedDataset, records: Sequence[NightRecord]) -> PairedDataset:
    blank = [np.full((len(r.marks), len(STAGES)), np.nan, np.float32) for r in records]
    found = [
        b if r.yasa is None else np.asarray(r.yasa) for b, r in zip(blank, records, strict=True)
    ]
    probabilities = np.concatenate(found)
    if np.isnan(probabilities).all():
        raise ValueError("no night was staged with YASA; prepare the nights with YASA's stages")
    # Whether an epoch has EEG says nothing here: YASA has seen the whole night.
    valid = {name: mask for name, mask in dataset.valid.items() if name != "eeg"}
    return precomputed(dataset.replace(valid=valid), "eeg", probabilities=probabilities)


def _labelled(
    train: PairedDataset, records: Sequence[NightRecord], labels: Judge | Sequence[str]
) -> PairedDataset:
    kind: Judge = "yasa" if labels == "yasa" else "scored"
    stages = {record.name: stages_of(record, kind) for record in records}
    places = [night_and_epoch(name) for name in train.ids]
    target = torch.tensor([int(stages[night][epoch]) for night, epoch in places])
    train = train.replace(target=target)
    if not isinstance(labels, str):
        known = {train.name_of_group(group) for group in train.group[train.labelled].tolist()}
        if wrong := sorted(set(labels) - known):
            raise ValueError(
                f"labels names {wrong}, expected some of the subjects for training with scored "
                f"epochs, {sorted(known)}; others are held out, are not scored, or do not exist"
            )
        return keep_labels_of(train, list(labels))
    if not bool(train.labelled.any()):
        raise ValueError(
            f"no epoch for training has a label of the kind {labels!r}; take labels='yasa', or "
            "prepare hypnograms"
        )
    return train


def _without(
    train: PairedDataset, records: Sequence[NightRecord], exclude: Sequence[str]
) -> PairedDataset:
    """The training rows without those that have any of the marks."""
    if not exclude:
        return train
    marks = {record.name: record.marks for record in records}
    places = [night_and_epoch(name) for name in train.ids]
    found = [marks[night][epoch] & set(exclude) for night, epoch in places]
    counts = {mark: sum(mark in some for some in found) for mark in exclude}
    gone = sum(map(bool, found))
    if gone == len(train):
        raise ValueError(f"every epoch for training has one of the marks {counts}; exclude fewer")
    if gone:
        warnings.warn(
            f"{gone} of {len(train)} epochs are not trained on, for their marks: "
            + ", ".join(f"{mark} {count}" for mark, count in counts.items() if count),
            stacklevel=3,
        )
    return train.subset([row for row, some in enumerate(found) if not some])
