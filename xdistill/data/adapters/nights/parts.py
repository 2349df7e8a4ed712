"""Which sleepers of prepared nights are trained on, and which are held out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits, fold_groups, split_by_group, split_groups

ENOUGH = 3


def split_sleepers(
    judged: PairedDataset,
    *,
    sees: Sequence[str] = (),
    val_subjects: Sequence[str] = (),
    test_subjects: Sequence[str] = (),
    folds: int | None = None,
    fold: int = 0,
    kept_for_training: Sequence[str] = (),
    seed: int = 0,
) -> Splits:
    """Subject-disjoint parts. A sleeper who cannot be judged is always for training.

    Args:
        judged: rows with the labels that held-out sleepers are judged by.
        sees: modalities of the student: a sleeper without a labelled epoch that has them all cannot
            be judged, as one without any label.
        val_subjects: who is for validation; with `test_subjects`, all others are for training.
        test_subjects: who is held out to the end.
        folds: instead, deal the sleepers with labels into so many folds.
        fold: which fold is held out to the end; the next one is for validation.
        kept_for_training: whom a drawn split does not hold out.
        seed: a drawn split follows from it.

    Raises:
        ValueError: named subjects and folds, a subject that does not exist, or fewer than three
            sleepers with labels.
    """
    names = [judged.name_of_group(group) for group in judged.group.unique().tolist()]
    judgeable = judged.labelled
    for name in sees:
        judgeable = judgeable & judged.rows_with(name)
    known = judged.group[judgeable].unique().tolist()
    needed = " and ".join(["a label to be judged by", *sees])
    scored = [name for name in names if judged.group_names.index(name) in known]  # type: ignore[union-attr]
    if val_subjects or test_subjects:
        if folds is not None or not (val_subjects and test_subjects):
            raise ValueError(
                "name subjects for validation and for testing, both and without folds, got "
                f"val_subjects={list(val_subjects)}, test_subjects={list(test_subjects)} and "
                f"folds={folds}"
            )
        held_out = {*val_subjects, *test_subjects}
        if unscored := sorted(held_out & set(names) - set(scored)):
            raise ValueError(
                f"{unscored} have no epoch with {needed}; hold out some of {scored}, or judge by "
                "YASA (judge='yasa')"
            )
        train = [name for name in names if name not in held_out]
        return split_groups(judged, train=train, val=val_subjects, test=test_subjects)
    free = scored if folds is not None else [n for n in scored if n not in kept_for_training]
    others = [name for name in names if name not in free]
    if len(free) + bool(others) < ENOUGH or len(free) < 2:
        raise ValueError(
            f"{len(free)} of {len(names)} sleepers have epochs with {needed}, and are free to be "
            "held out; a split needs one for training, one for validation and one for testing: "
            "prepare more nights, or judge by YASA (judge='yasa')"
        )
    if folds is not None:
        numbers = fold_groups(range(len(free)), folds=folds, fold=fold)
        parts = {part: [free[at] for at in some] for part, some in numbers.items()}
    elif len(free) < ENOUGH:
        parts = {"train": [], "val": free[:1], "test": free[1:]}
    else:
        rows = torch.isin(judged.group, _numbers(judged, free))
        drawn = split_by_group(judged.subset(rows), seed=seed)._asdict()
        parts = {
            part: [some.name_of_group(group) for group in some.group.unique().tolist()]
            for part, some in drawn.items()
        }
    return split_groups(judged, **{**parts, "train": [*parts["train"], *others]})


def _numbers(dataset: PairedDataset, names: Sequence[str]) -> torch.Tensor:
    assert dataset.group_names is not None
    return torch.tensor([dataset.group_names.index(name) for name in names])
