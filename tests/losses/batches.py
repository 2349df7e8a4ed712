"""Random batches for the tests of losses, and what one call of a loss does."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from xdistill.losses.parts.loss import Loss
from xdistill.registry import create_loss
from xdistill.types import Outputs, Spec

CLASSES = 3
SAMPLES = 40
# Two layers of a video network and of one that hears a signal: they share time alone.
STUDENT_HIDDEN = {"early": (4, 6, 2, 2), "late": (6, 3, 2, 2)}
# The channels of what these read are classes: the first of the layers' channels stand for them.
CLASS_MAPS = {"catkd", "sdd"}
TEACHER_HIDDEN = {"early": (3, 8), "late": (5, 4)}


@dataclass(frozen=True)
class Batch:
    """The arguments of a loss."""

    student: Outputs
    teacher: Outputs
    target: Tensor | None
    valid: Tensor | None = None
    index: Tensor | None = None

    def change(self, **changes) -> Batch:
        return replace(self, **changes)

    def rows(self, index: Tensor) -> Batch:
        def take(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[index]

        return Batch(
            self.student.rows(index),
            self.teacher.rows(index),
            take(self.target),
            take(self.valid),
            take(self.index),
        )


@dataclass(frozen=True)
class Step:
    """A loss value and its gradients, zeros where there is none.

    Gradients are those of the student's outputs and of the loss's parameters.
    """

    value: Tensor
    embedding: Tensor
    logits: Tensor
    parameters: dict[str, Tensor]
    hidden: dict[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        named = {"value": self.value, "embedding": self.embedding, "logits": self.logits}
        return {**named, **self.parameters, **self.hidden}

    def reaches_the_student(self) -> bool:
        return any(t.any() for t in (self.embedding, self.logits, *self.hidden.values()))


def random_batch(
    rows: int = 6, student_dim: int = 8, teacher_dim: int = 8, seed: int = 0, dtype=torch.float32
) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    student = Outputs(normal(rows, student_dim), normal(rows, CLASSES))
    teacher = Outputs(normal(rows, teacher_dim), normal(rows, CLASSES))
    index = torch.randperm(SAMPLES, generator=generator)[:rows]
    ours, theirs = (
        {name: normal(rows, *shape) for name, shape in shapes.items()}
        for shapes in (STUDENT_HIDDEN, TEACHER_HIDDEN)
    )
    return Batch(
        replace(student, hidden=ours),
        replace(teacher, hidden=theirs),
        torch.arange(rows) % CLASSES,
        None,
        index,
    )


def bound_loss(
    name: str, student_dim: int = 8, teacher_dim: int = 8, seed: int = 7, **options
) -> Loss:
    torch.manual_seed(seed)
    student, teacher = Spec(student_dim, STUDENT_HIDDEN), Spec(teacher_dim, TEACHER_HIDDEN)
    return create_loss(name, **options).bind(student, teacher, CLASSES, SAMPLES)


def fitting(loss: Loss, batch: Batch) -> Batch:
    """The batch in the form that the loss reads: values of a regression, or maps of classes."""
    if loss.name in CLASS_MAPS:
        batch = batch.change(student=_as_scores(batch.student), teacher=_as_scores(batch.teacher))
    target = batch.target
    if loss.reads != ("values",) or not isinstance(target, Tensor):
        return batch
    if target.is_floating_point() or target.ndim > 1:
        return batch
    shift = torch.arange(CLASSES, dtype=torch.float32)
    values = batch.target[:, None] - 0.5 * shift
    return batch.change(target=values.masked_fill(batch.target[:, None] < 0, math.nan))


def call(loss: Loss, batch: Batch) -> Tensor:
    """The loss of the batch, without a gradient step."""
    batch = fitting(loss, batch)
    return loss(batch.student, batch.teacher, batch.target, valid=batch.valid, index=batch.index)


def step(loss: Loss, batch: Batch, seed: int = 3) -> Step:
    """One call of the loss and the backward pass, on copies of the batch's tensors."""
    torch.manual_seed(seed)
    loss.zero_grad()
    batch = fitting(loss, batch)
    student = batch.student.map(lambda tensor: tensor.detach().clone().requires_grad_())
    value = loss(student, batch.teacher, batch.target, valid=batch.valid, index=batch.index)
    value.backward()
    logits = student.logits
    return Step(
        value.detach(),
        _gradient(student.embedding),
        torch.zeros(()) if logits is None else _gradient(logits),
        {name: _gradient(parameter) for name, parameter in loss.named_parameters()},
        {f"hidden {name}": _gradient(tensor) for name, tensor in student.hidden.items()},
    )


def fresh_step(loss: Loss, batch: Batch, seed: int = 3) -> Step:
    """The same with a copy of the loss, so that its memory stays as it was."""
    return step(copy.deepcopy(loss), batch, seed)


def _as_scores(outputs: Outputs) -> Outputs:
    return replace(outputs, hidden={name: x[:, :CLASSES] for name, x in outputs.hidden.items()})


def _gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.clone()
