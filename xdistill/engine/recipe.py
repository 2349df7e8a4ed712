"""What we recommend where a teacher exists and few rows have labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from xdistill.data.cache import cache_teacher
from xdistill.data.loader import paired_loader
from xdistill.data.paired import PairedDataset
from xdistill.data.refine import Targets, refine_targets
from xdistill.data.seen import seen_rows
from xdistill.distiller import Distiller
from xdistill.engine.fit import fit
from xdistill.engine.run_state import FitResult
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.dist import DIST
from xdistill.losses.parts.loss import Loss
from xdistill.losses.pseudo_label import PseudoLabel

REFINED: Mapping[Targets, bool] = {"smoothed": False, "corrected": True}
"""The targets that are not the teacher's own, and whether labels correct them first."""


class Recipe(NamedTuple):
    """What `recipe` returns.

    Attributes:
        student: the student that validation prefers, in eval mode.
        targets: what it learned from.
        results: what each training left, by its targets.
        students: every student, by its targets.
    """

    student: nn.Module
    targets: Targets
    results: Mapping[Targets, FitResult]
    students: Mapping[Targets, nn.Module]


def recipe(
    make_student: Callable[[], nn.Module],
    teacher: nn.Module,
    train: PairedDataset,
    val: PairedDataset,
    *,
    neighbours: int = 20,
    batch_size: int = 64,
    labelled_per_batch: int | None = None,
    seed: int = 0,
    run_dir: str | Path | None = None,
    resume: bool = False,
    **fit_options: Any,
) -> Recipe:
    """Train a student on the teacher's targets, on smoothed and on corrected ones; keep the best.

    The loss is `recipe_loss`. Smoothed and corrected targets come from `refine_targets`, over a
    graph of the teacher's embeddings and of what the student sees: its inputs where they are
    vectors, else the embeddings of the student that learned from the teacher's own targets.

    Neighbours help where the teacher is wrong in a way that the student's modality can tell, as a
    teacher from elsewhere is; where it is wrong at random they do not, since training averages such
    errors out. No look at the targets tells which it is. So three students are trained, at three
    times the cost of one, and validation decides.

    Args:
        make_student: makes an untrained encoder of the student's modality, with a classifier; the
            random seed is set before each call.
        teacher: trained, frozen, and with a classifier. Where `train` holds cached outputs of its
            modality (`cache_teacher`, `cross_fit_teacher`), these are taken; otherwise it runs.
        train: pairs of which some have labels, one class a row.
        val: labelled rows of the student's modality, of other groups than `train`.
        neighbours: as in `refine_targets`.
        batch_size: rows of a step.
        labelled_per_batch: labelled rows of a step; a quarter of the batch when None.
        seed: of the first weights and the order, the same for the three.
        run_dir: folder of the runs, one below it for each student; None keeps them in memory.
        resume: continue the runs in `run_dir`.
        **fit_options: of `fit`: max_epochs, lr, monitor, mode, devices, …

    Raises:
        ValueError: no row has a label, or several classes a row.
        KeyboardInterrupt: Ctrl-C; with a `run_dir`, resume=True goes on.
    """
    if train.target_kind != "class" or not bool(train.labelled.any()):
        raise ValueError(
            "recipe takes one class a row and a label in some rows of train, got target "
            f"{list(train.target.shape)} with {int(train.labelled.sum())} labelled rows"
        )
    modality = str(teacher.modality)
    cached = train if modality in train.cached else cache_teacher(train, teacher, modality)
    unlabelled = not bool(cached.labelled.all())
    streams = (labelled_per_batch or max(1, batch_size // 4)) if unlabelled else None
    students: dict[Targets, nn.Module] = {}
    results: dict[Targets, FitResult] = {}

    def learn(targets: Targets, rows: PairedDataset) -> None:
        torch.manual_seed(seed)
        student = make_student()
        results[targets] = fit(
            Distiller(student, teacher, recipe_loss()),
            paired_loader(rows, batch_size, shuffle=True, seed=seed, labelled_per_batch=streams),
            paired_loader(val, 2 * batch_size),
            seed=seed,
            run_dir=None if run_dir is None else Path(run_dir) / targets,
            resume=resume,
            **fit_options,
        )
        if results[targets].interrupted:
            raise KeyboardInterrupt
        students[targets] = student.eval()

    learn("own", cached)
    own = students["own"]
    seen = seen_rows(train, str(own.modality), own, seed=seed)
    for targets, correct in REFINED.items():
        rows = refine_targets(cached, modality, seen, neighbours=neighbours, correct=correct)
        learn(targets, rows)
    sign = 1 if results["own"].mode == "max" else -1
    best = max(results, key=lambda one: sign * results[one].best_value)
    return Recipe(students[best], best, results, students)


def recipe_loss() -> Loss:
    """Cross-entropy of labelled rows, that of others with the teacher's probabilities, and DIST."""
    return CrossEntropy() + PseudoLabel(hard=False) + DIST.recommended_weight * DIST()
