"""Parts of the rows and of the modalities of a dataset, as experiments need them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from xdistill.data.order import TwoStreams
from xdistill.data.paired import PairedDataset
from xdistill.metrics import Prediction, score


def only(dataset: PairedDataset, modality: str) -> PairedDataset:
    """The rows that have a modality, with that modality alone."""
    alone = dataset.replace(
        inputs={modality: dataset.inputs[modality]},
        valid={name: mask for name, mask in dataset.valid.items() if name == modality},
    )
    return alone.subset(dataset.valid[modality].nonzero().flatten()) if alone.valid else alone


def has_both_kinds(train: PairedDataset) -> bool:
    """Whether some rows have a label and some have none."""
    return bool(train.labelled.any()) and not bool(train.labelled.all())


def epoch_rows(train: PairedDataset, batch_size: int, labelled_per_batch: int | None) -> int:
    """How many rows an epoch shows: with two streams, labelled ones as often as that takes."""
    if labelled_per_batch is None or not has_both_kinds(train):
        return len(train)
    return len(TwoStreams(train.target, batch_size, labelled_per_batch))


def labelled_only(train: PairedDataset, count: int) -> PairedDataset:
    """The labelled rows, repeated in turn until there are `count`.

    With as many as other students see in an epoch, it has as many steps as theirs.
    """
    labelled = train.labelled.nonzero().flatten()
    return train.subset(labelled[torch.arange(count) % len(labelled)])


def first_sample(dataset: PairedDataset, modality: str) -> Tensor:
    """The modality's sample of the first row that has one.

    Raises:
        ValueError: the dataset has no such modality.
    """
    if modality not in dataset.inputs:
        raise ValueError(
            f"the dataset has no modality {modality!r}, it has {sorted(dataset.inputs)}; name one "
            "of these in the setting"
        )
    row = next(row for row in range(len(dataset)) if dataset.has(modality, row))
    return dataset.read(modality, row)


def hide_teachers(
    train: PairedDataset, teachers: Iterable[str], share: float, seed: int
) -> PairedDataset:
    """The same rows, a share of which has no teacher modality.

    With one seed, the rows that lack it at a smaller share also lack it at a larger one.
    """
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    has = torch.ones(len(train), dtype=torch.bool)
    has[order[: round(share * len(train))]] = False
    before = {name: train.rows_with(name) for name in teachers}
    return train.replace(valid={**train.valid, **{name: has & before[name] for name in before}})


def precomputed_scores(part: PairedDataset, modality: str) -> Prediction:
    """What the outputs of a teacher that the rows hold say of those that have it.

    Raises:
        ValueError: the outputs have no logits, or no row has both a teacher and a label.
    """
    logits = part.cached[modality].logits
    has = part.rows_with(modality)
    if logits is None or not bool((has & part.labelled).any()):
        raise ValueError(
            f"no row has both a label and probabilities of the {modality!r} teacher, so the "
            "teacher cannot be judged; hold out sleepers that have both"
        )
    logits, target = logits[has], part.target[has]
    scores = score(logits, target, len(part.classes))
    return Prediction(logits.argmax(dim=1), target, scores, logits.softmax(dim=1))
