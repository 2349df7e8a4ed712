"""The base class of every distillation loss, and how losses add up."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from xdistill.losses.parts.masking import zero_rows
from xdistill.registry import create_projector
from xdistill.types import Outputs, Spec

Need = Literal["logits", "embedding", "hidden", "labels", "index"]
"""What a loss may read: a part of the outputs, `target`, or `index`."""


class Loss(nn.Module):
    """A scalar that compares a student's outputs with a teacher's.

    A subclass overrides `forward`. Calling the loss

    - detaches the teacher unless the loss is `mutual`;
    - replaces both embeddings by their projections where projectors are attached and the loss
      lives in the shared space: gradient reaches both projectors, never the teacher's encoder;
    - puts zeros in the teacher's rows that are not valid, so that what they held reaches neither
      the value nor, through a projector, a gradient;
    - leaves autocast and lifts half precision to float32, so that `forward` may take logarithms.

    Losses compose: `CrossEntropy() + 0.9 * KD()` is itself a Loss.

    Attributes:
        name: what its value is called in logs; the registered name.
        mutual: gradient also flows into the teacher.
        shared_space: the loss compares the two embeddings, which therefore must live in one space.
            A loss on logits, or on the geometry of each modality, says False.
        projects_in_forward: `forward` gets the embeddings as the encoders gave them and calls
            `project` itself (a bank of raw teacher keys needs both).
        composite: it holds other losses and hands them what it was given, untouched.
        multi_label: a loss that reads labels takes several classes a row, target [B, K], too. One
            that reads none always does.
        recommended_weight: the weight that the paper gives this term beside a cross-entropy of 1.
        recommended_warmup_epochs: the epochs over which the paper lets that weight grow from 0.
        formula: the loss in one line, for listings.
        paper: who proposed it, where and when, for listings.
        needs: what the loss cannot do without.
        uses: what it makes use of where it is there.
        dim: width of the shared space when the loss makes projectors of its own.
        terms: the last value of each part, detached and unweighted.
    """

    name: ClassVar[str] = ""
    mutual: bool = False
    shared_space: bool = True
    projects_in_forward: ClassVar[bool] = False
    composite: ClassVar[bool] = False
    multi_label: ClassVar[bool] = False
    recommended_weight: ClassVar[float] = 1.0
    recommended_warmup_epochs: ClassVar[int] = 0
    formula: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    needs: ClassVar[tuple[Need, ...]] = ("embedding",)
    uses: ClassVar[tuple[Need, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.dim: int | None = None
        self.student_projector: nn.Module | None = None
        self.teacher_projector: nn.Module | None = None
        self.terms: dict[str, Tensor] = {}

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        target: Int64[Tensor, "b ..."] | None = None,
        *,
        valid: Bool[Tensor, " b"] | None = None,
        index: Int64[Tensor, " b"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss of a batch.

        Args:
            student: the student's outputs for B rows.
            teacher: the teacher's outputs for the same rows.
            target: [B] class index, -1 where unlabelled; or [B, K] (`PairedBatch`).
            valid: [B] False where the teacher's modality is missing; those rows contribute only to
                task losses.
            index: [B] position of each row in the dataset, for losses with instance memories.

        Raises:
            ValueError: numbers of rows that disagree, a target out of range, or several classes a
                row for a loss that reads one.
        """
        check_rows(student, teacher, target, valid, index)
        if target is not None and target.ndim > 1:
            self._check_multi_label(target)
        if not self.mutual:
            teacher = teacher.detach()
        with torch.autocast(student.embedding.device.type, enabled=False):
            student, teacher = student.map(at_least_float32), teacher.map(at_least_float32)
            if valid is not None:
                teacher = without_missing(teacher, valid)
            if self.shared_space and not self.projects_in_forward:
                student, teacher = self.project(student, teacher)
            value = super().__call__(student, teacher, target, valid=valid, index=index)
        if not self.composite:
            self.terms = {**self.terms, self.label: value.detach()}
        return value

    def _check_multi_label(self, target: Int64[Tensor, "b k"]) -> None:
        if "labels" in (*self.needs, *self.uses) and not (self.multi_label or self.composite):
            raise ValueError(
                f"{self.label} reads one class a row, target [B], got target {list(target.shape)} "
                "for several; take binary_cross_entropy for the task, and to distil a loss that "
                "reads no labels (`xdistill losses` tells), khn or sacd"
            )

    @property
    def label(self) -> str:
        """The name in logs: the registered name, or the class's."""
        return self.name or type(self).__name__.lower()

    def bind(
        self,
        student: Spec | Outputs | int | Any,
        teacher: Spec | Outputs | int | Any,
        num_classes: int | None = None,
        num_samples: int | None = None,
    ) -> Loss:
        """Learn the widths and make parameters and buffers. `Distiller` calls it.

        A loss in the shared space makes a pair of MLP projectors when it was given a `dim`, or
        when the widths differ, and none is attached yet.

        Args:
            student: the student's Spec or its outputs for any batch, which tell the shapes of
                hidden tensors too; or anything with `dim`, or the width itself.
            teacher: the same of the teacher.
            num_classes: number of classes K.
            num_samples: number of training rows, for losses with one memory slot a row.
        """
        student_dim, teacher_dim = width(student), width(teacher)
        if not self.shared_space or self.student_projector is not None:
            return self
        if self.dim is not None or student_dim != teacher_dim:
            dim = min(student_dim, teacher_dim) if self.dim is None else self.dim
            self.attach(
                create_projector("mlp", student_dim, dim), create_projector("mlp", teacher_dim, dim)
            )
        return self

    def attach(self, student_projector: nn.Module, teacher_projector: nn.Module) -> None:
        """Compare projected embeddings from now on."""
        self.student_projector = student_projector
        self.teacher_projector = teacher_projector

    def project(self, student: Outputs, teacher: Outputs) -> tuple[Outputs, Outputs]:
        """Both outputs with the embeddings in the shared space.

        Raises:
            ValueError: the widths differ and no projector is attached.
        """
        if self.student_projector is not None and self.teacher_projector is not None:
            student = student.with_embedding(self.student_projector(student.embedding))
            teacher = teacher.with_embedding(self.teacher_projector(teacher.embedding))
        ours, theirs = student.embedding.shape[1], teacher.embedding.shape[1]
        if ours != theirs:
            raise ValueError(
                f"{self.label} compares embeddings of one width, got {ours} (student) and {theirs} "
                "(teacher); call loss.bind(student, teacher), which makes projectors, or say "
                "shared_space = False in a loss that compares no embeddings"
            )
        return student, teacher

    def shared_width(self, student_dim: int) -> int:
        """The width that `forward` sees: that of the attached projector's output, if there is one.

        Args:
            student_dim: width of the student's embedding.
        """
        if self.student_projector is None:
            return student_dim
        probe = copy.deepcopy(self.student_projector).eval()  # a BatchNorm must not see the zeros
        like = next(probe.parameters(), torch.empty(0))
        with torch.no_grad():
            return probe(like.new_zeros(1, student_dim)).shape[1]

    def leaves(self) -> Iterator[Loss]:
        """The losses that this one is composed of: itself, or those that it holds."""
        yield self

    def set_progress(
        self, step: int | float, total: int | float, steps_per_epoch: int | float = 1
    ) -> None:
        """Tell the schedules inside (`warmup`, `ramp`) how far training is. `fit` does so itself.

        Args:
            step: steps done so far.
            total: steps of the whole training.
            steps_per_epoch: how many steps make an epoch. With 1, the default, a step is an epoch:
                `loss.set_progress(epoch, max_epochs)` once in each.

        Raises:
            ValueError: a step below 0, or a total or an epoch of no steps.
        """
        for child in self.children():
            if isinstance(child, Loss):
                child.set_progress(step, total, steps_per_epoch)

    def __add__(self, other: Loss) -> WeightedSum:
        if not isinstance(other, Loss):
            return NotImplemented
        return WeightedSum([*_terms(self), *_terms(other)])

    def __radd__(self, other: object) -> Loss:
        return self if other == 0 else NotImplemented

    def __mul__(self, weight: float) -> WeightedSum:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            return NotImplemented
        return WeightedSum([(weight * own, loss) for own, loss in _terms(self)])

    __rmul__ = __mul__


class WeightedSum(Loss):
    """A sum of losses, each with a weight. `terms` holds the last value of each, unweighted.

    Args:
        terms: pairs of weight and loss.
    """

    shared_space = False
    composite = True

    def __init__(self, terms: list[tuple[float, Loss]]):
        super().__init__()
        self.weights = [float(weight) for weight, _ in terms]
        self.losses = nn.ModuleList([loss for _, loss in terms])
        self.mutual = any(loss.mutual for _, loss in terms)
        self.labels = _unique([loss.label for _, loss in terms])

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        total = student.embedding.new_zeros(())
        terms: dict[str, Tensor] = {}
        for weight, label, loss in zip(self.weights, self.labels, self.summands(), strict=True):
            total = total + weight * loss(student, teacher, target, valid=valid, index=index)
            terms.update(
                {label + name.removeprefix(loss.label): v for name, v in loss.terms.items()}
            )
        self.terms = terms
        return total

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        for loss in self.summands():
            loss.bind(student, teacher, num_classes, num_samples)
        return self

    def set_progress(
        self, step: int | float, total: int | float, steps_per_epoch: int | float = 1
    ) -> None:
        for loss in self.summands():
            loss.set_progress(step, total, steps_per_epoch)

    def summands(self) -> Iterator[Loss]:
        """The losses that are added; none is a sum itself."""
        for loss in self.losses:
            assert isinstance(loss, Loss)
            yield loss

    def leaves(self) -> Iterator[Loss]:
        for loss in self.summands():
            yield from loss.leaves()

    def extra_repr(self) -> str:
        return f"weights={self.weights}"


def _terms(loss: Loss) -> list[tuple[float, Loss]]:
    if isinstance(loss, WeightedSum):
        return list(zip(loss.weights, loss.summands(), strict=True))
    return [(1.0, loss)]


def _unique(labels: list[str]) -> list[str]:
    return [
        label if (before := labels[:place].count(label)) == 0 else f"{label}_{before + 1}"
        for place, label in enumerate(labels)
    ]


def width(spec: Spec | Outputs | int | Any) -> int:
    """The width of an embedding from a Spec, outputs, an encoder, or the number itself."""
    if isinstance(spec, Outputs):
        return spec.embedding.shape[1]
    return spec if isinstance(spec, int) else int(spec.dim)


def without_missing(outputs: Outputs, valid: Bool[Tensor, " b"]) -> Outputs:
    """Zeros in the rows that are not valid."""
    keep = valid.to(device=outputs.embedding.device, dtype=torch.bool)
    return outputs.map(lambda tensor: zero_rows(tensor, keep))


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision lifted to float32; anything else as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def check_rows(
    student: Outputs,
    teacher: Outputs,
    target: Tensor | None,
    valid: Tensor | None,
    index: Tensor | None,
) -> None:
    """Refuse arguments whose numbers of rows disagree, and targets that are no class.

    The range of the targets is looked at on the CPU alone: elsewhere it would wait for the device.
    """
    rows = len(student.embedding)
    named = {"teacher": teacher.embedding, "target": target, "valid": valid, "index": index}
    for name, tensor in named.items():
        if tensor is not None and len(tensor) != rows:
            raise ValueError(
                f"the student has {rows} rows but {name} has {len(tensor)}; pass the same batch"
            )
    if target is None or torch.compiler.is_compiling():
        return
    if target.dtype != torch.int64:
        raise TypeError(f"target must be int64 class indices, got {target.dtype}; use .long()")
    if target.device.type == "cpu" and student.logits is not None and rows:
        low, high, classes = int(target.min()), int(target.max()), student.logits.shape[1]
        if target.ndim > 1 and target.shape[1:] != (classes,):
            raise ValueError(
                f"target has shape {list(target.shape)}, expected [{rows}] or [{rows}, {classes}]"
            )
        if low < -1 or high >= (classes if target.ndim == 1 else 2):
            expected = f"a class from 0 to {classes - 1}" if target.ndim == 1 else "0 or 1"
            raise ValueError(
                f"target holds {low if low < -1 else high}, expected -1 (unlabelled) or {expected}"
            )


def require_target(loss: str, target: Tensor | None) -> Int64[Tensor, "b ..."]:
    """The labels; refuse to go without them."""
    if target is None:
        raise ValueError(f"{loss} needs target, got None; pass the batch's labels")
    return target


def require_logits(loss: str, *outputs: Outputs) -> None:
    """Refuse outputs without logits, or with different numbers of classes."""
    shapes = [None if one.logits is None else one.logits.shape[1] for one in outputs]
    if None in shapes:
        raise ValueError(
            f"{loss} compares class logits, but an encoder returned none; create it with "
            "num_classes"
        )
    if len(set(shapes)) > 1:
        raise ValueError(
            f"{loss} compares logits of the same classes, got {shapes} of them; create both "
            "encoders with one num_classes"
        )
