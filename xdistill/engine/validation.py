"""What an epoch's validation measures: the student's metrics, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xdistill.data.order import labelled_rows
from xdistill.distiller import Distiller
from xdistill.engine.embedding_metrics import EmbeddingMetrics
from xdistill.engine.guard import bad_rows
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.precision import at_least_float32
from xdistill.metrics_for import TargetMetrics, metrics_for
from xdistill.types import Outputs, PairedBatch


class Answer(NamedTuple):
    """What a batch of validation rows gave.

    Attributes:
        student: the student's outputs.
        teachers: those of the teachers whose modality the batch holds.
        values: the loss and its terms by name; none where they cannot be computed.
    """

    student: Outputs
    teachers: dict[str, Outputs]
    values: dict[str, Tensor]


def answer(distiller: Distiller, batch: PairedBatch, resting: Collection[str] = ()) -> Answer:
    """Run the networks, and the loss where it is defined.

    It is not where the batch lacks a teacher's outputs, or where a loss has a slot for each
    training row (crd by index): a validation row has none. `index` is kept from all losses, since
    it would be taken for that of a training row.

    Args:
        distiller: in eval mode, without gradient.
        batch: validation rows.
        resting: teachers that are not to be run: those that training knows from the cache.
    """
    awake = batch.inputs.keys() - set(resting)
    here = [name for name in distiller.teachers if name in awake or name in batch.cached]
    slots = any(map(_needs_index, _losses(distiller).values()))
    if len(here) == len(distiller.teachers) and not slots:
        with torch.random.fork_rng(_devices(batch)):  # a loss may draw; training must not notice
            step = distiller(replace(batch, index=None))
        return Answer(step.student, step.teachers, {"loss": step.loss.detach(), **step.terms})
    student = distiller.student(batch.inputs[distiller.student.modality])  # type: ignore[index]
    teachers = {name: distiller.teach(name, batch) for name in here}
    return Answer(student, teachers, {})


class Validation(nn.Module):
    """Metrics of a validation set: the classifier's, or those of embeddings without one."""

    def __init__(self, distiller: Distiller):
        super().__init__()
        self.distiller = [distiller]  # in a list, so that it is no part of this module
        self.teachers = tuple(distiller.teachers)
        self.resting: set[str] = set()
        # Made at the first batch, since an encoder need not tell its number of classes in advance.
        self.metrics: TargetMetrics | None = None
        self.embeddings: EmbeddingMetrics | None = None
        self.labelled = torch.zeros((), dtype=torch.int64)  # both grow where the batches are
        self.bad = torch.zeros((), dtype=torch.int64)

    def update(self, batch: PairedBatch, found: Answer) -> None:
        """Add a batch."""
        student, target = found.student, batch.target_of(str(self.distiller[0].student.modality))
        self.bad = self.bad.to(target.device) + bad_rows(student).sum()
        self.labelled = self.labelled.to(target.device) + labelled_rows(target).sum()
        if student.logits is None:
            self._add_embeddings(batch, found)
            return
        if self.metrics is None:
            made = metrics_for(student.logits, target, self.distiller[0].losses)
            self.metrics = made.to(target.device)
        self.metrics.update(student.logits, target)

    def _add_embeddings(self, batch: PairedBatch, found: Answer) -> None:
        device = batch.target.device
        if self.embeddings is None:
            self.embeddings = EmbeddingMetrics(self.teachers).to(device)
        index = torch.arange(len(batch), device=device) if batch.index is None else batch.index
        group = index if batch.group is None else batch.group
        pairs = {}
        for name, teacher in found.teachers.items():
            valid = batch.valid.get(name, torch.ones_like(index, dtype=torch.bool))
            pair = found.student, teacher
            if (space := _space(_losses(self.distiller[0])[name])) is not None:
                pair = space.project(*(one.map(at_least_float32) for one in pair))
            pairs[name] = (*(one.embedding[valid] for one in pair), index[valid])
        self.embeddings.update(found.student.embedding, batch.target, group, index, pairs)

    def compute(self, over_ranks: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """The scalar metrics of the rows since the last call; the classifier's need a label.

        Args:
            over_ranks: sums a tensor over the processes.

        Raises:
            FloatingPointError: the student returned NaN or infinity, which a metric would count as
                an answer.
        """
        labelled, bad = int(over_ranks(self.labelled)), int(over_ranks(self.bad))
        self.labelled, self.bad = (torch.zeros_like(one) for one in (self.labelled, self.bad))
        if bad:
            raise FloatingPointError(
                f"the student returned NaN or infinity for {bad} validation rows; look at their "
                "inputs (xdistill.audit reads them), lower lr or use precision='32'"
            )
        measured = self.embeddings or (self.metrics if labelled else None)
        if measured is None:
            return {}
        values = measured.compute()
        measured.reset()
        return {name: value.float() for name, value in values.items() if value.ndim == 0}


def _losses(distiller: Distiller) -> dict[str, Loss]:
    return {name: one for name, one in distiller.losses.items() if isinstance(one, Loss)}


def _needs_index(loss: Loss) -> bool:
    return any(leaf.slot_per_row or "index" in leaf.needs for leaf in loss.leaves())


def _devices(batch: PairedBatch) -> list[int]:
    device = batch.target.device
    return [device.index or 0] if device.type == "cuda" else []


def _space(loss: Loss) -> Loss | None:
    """The first part of a loss that compares embeddings: it leads to the shared space."""
    return next((leaf for leaf in loss.leaves() if leaf.shared_space), None)
