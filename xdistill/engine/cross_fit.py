"""Teachers that never saw the labels of the rows that they teach."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xdistill.data.cache import cache_teacher
from xdistill.data.loader import paired_loader
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits, kfold_by_group
from xdistill.distiller import Distiller
from xdistill.engine.fit import fit
from xdistill.engine.run_state import FitResult
from xdistill.losses.binary_cross_entropy import BinaryCrossEntropy
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.parts.loss import Loss
from xdistill.types import Outputs


class CrossFitted(NamedTuple):
    """What `cross_fit_teacher` returns.

    Attributes:
        dataset: the rows, in their order, with out-of-fold outputs in the place of the teacher's
            inputs, as `cache_teacher` leaves them.
        teachers: the teacher of each fold, in eval mode and frozen.
        results: what the training of each left.
        fold: [N] int64, the fold of each row, whose teacher teaches it.
    """

    dataset: PairedDataset
    teachers: list[nn.Module]
    results: list[FitResult]
    fold: Tensor


def cross_fit_teacher(
    dataset: PairedDataset,
    make_teacher: Callable[[], nn.Module],
    modality: str,
    *,
    folds: int = 5,
    loss: Loss | None = None,
    batch_size: int = 64,
    seed: int = 0,
    root: str | Path | None = None,
    hidden: Sequence[str] = (),
    run_dir: str | Path | None = None,
    resume: bool = False,
    **fit_options: Any,
) -> CrossFitted:
    """Train one teacher a fold, and let each row be taught by one that did not see it.

    A teacher that was fitted on the labels of its pupils' rows is right about nearly all of them,
    and its pupils then learn those labels, hidden or not, rather than what the modality shows.
    Cross-fitting (Chernozhukov et al., The Econometrics Journal, 2018) gives every row the outputs
    that a teacher has for a subject it never met: fold k is taught by a teacher that was trained on
    the other folds, its epoch chosen on fold k + 1.

    The logits of different folds are comparable, their embeddings are not: the networks start from
    the same weights, but a loss that compares embeddings of rows of several folds compares several
    spaces.

    Args:
        dataset: rows with the modality, in `folds` or more groups; unlabelled rows are taught, too.
        make_teacher: makes an untrained encoder of the modality; the random seed is set before
            each call.
        modality: the teacher's.
        folds: number of folds of whole groups, at least 3.
        loss: the teacher's; cross-entropy when None (binary for rows of several classes).
        batch_size: rows of a step.
        seed: of the folds, of the first weights and of the order.
        root: folder of the cached outputs, as in `cache_teacher`.
        hidden: names of the hidden tensors that a loss will ask for.
        run_dir: folder of the runs, one below it for each fold; None keeps them in memory.
        resume: continue the runs in `run_dir`.
        **fit_options: of `fit`: max_epochs, lr, devices, …

    Raises:
        ValueError: a modality that the dataset lacks, fewer groups than folds, or a fold without
            labelled rows of the modality to train on or to choose the epoch by.
        KeyboardInterrupt: Ctrl-C; with a `run_dir`, resume=True goes on.
    """
    if modality not in dataset.inputs:
        raise ValueError(
            f"the dataset has inputs {list(dataset.modalities)}, and no {modality!r} to train a "
            "teacher on; name one of them"
        )
    if loss is None:
        loss = BinaryCrossEntropy() if dataset.multi_label else CrossEntropy()
    splits = kfold_by_group(dataset, folds, seed)
    fold = torch.zeros(len(dataset), dtype=torch.int64)
    teachers, results, parts = [], [], []
    for number, split in enumerate(splits):
        rows = torch.isin(dataset.group, split.test.group.unique())
        fold[rows] = number
        train, val = _seen(split, modality, number)
        torch.manual_seed(seed)
        teacher = make_teacher()
        last_of_one = len(train) % batch_size == 1  # has no statistics for a BatchNorm
        result = fit(
            Distiller(teacher, None, copy.deepcopy(loss)),  # what it learns stays in its fold
            paired_loader(train, batch_size, shuffle=True, seed=seed, drop_last=last_of_one),
            paired_loader(val, batch_size),
            seed=seed,
            run_dir=None if run_dir is None else Path(run_dir) / f"fold{number}",
            resume=resume,
            **fit_options,
        )
        if result.interrupted:
            raise KeyboardInterrupt
        teachers.append(teacher.eval().requires_grad_(False))
        results.append(result)
        if bool(split.test.rows_with(modality).any()):
            cached = cache_teacher(split.test, teacher, modality, root=root, hidden=hidden)
            parts.append((rows, cached.cached[modality]))
    taught = dataset.with_outputs(modality, _joined(len(dataset), parts))
    return CrossFitted(taught, teachers, results, fold)


def _seen(split: Splits, modality: str, fold: int) -> tuple[PairedDataset, PairedDataset]:
    """The rows that a fold's teacher is trained on, and those that choose its epoch."""
    return tuple(
        _labelled_rows(part, modality, f"fold {fold}: no labelled row of {modality} to {purpose}")
        for part, purpose in ((split.train, "train on"), (split.val, "choose the epoch by"))
    )  # type: ignore[return-value]


def _labelled_rows(dataset: PairedDataset, modality: str, otherwise: str) -> PairedDataset:
    rows = dataset.labelled & dataset.rows_with(modality)
    if not bool(rows.any()):
        raise ValueError(f"{otherwise}; take fewer folds, or label rows of more groups")
    only = dataset.replace(inputs={modality: dataset.inputs[modality]}, valid={}, cached={})
    return only.subset(rows)


def _joined(count: int, parts: list[tuple[Tensor, Outputs]]) -> Outputs:
    """The folds' outputs, each at its rows; zeros in the rows of no fold."""

    def at_rows(pick: Callable[[Outputs], Tensor]) -> Tensor:
        first = pick(parts[0][1])
        joined = first.new_zeros(count, *first.shape[1:])
        for rows, outputs in parts:
            joined[rows] = pick(outputs)
        return joined

    has_logits, names = parts[0][1].logits is not None, list(parts[0][1].hidden)
    return Outputs(
        embedding=at_rows(lambda one: one.embedding),
        logits=at_rows(lambda one: one.logits) if has_logits else None,  # type: ignore[arg-type]
        hidden={name: at_rows(lambda one, name=name: one.hidden[name]) for name in names},
    )
