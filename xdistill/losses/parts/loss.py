"""The base class of every distillation loss."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, Shaped
from torch import Tensor, nn

from xdistill.losses.parts.checks import as_tensor, check_outputs, check_rows, check_scalar
from xdistill.losses.parts.masking import without_missing
from xdistill.losses.parts.nan import carry_nan
from xdistill.losses.parts.positions import Arguments
from xdistill.losses.parts.precision import (
    HALF,
    at_least_float32,
    default_float32,
    in_one_precision,
)
from xdistill.losses.parts.readable import readable
from xdistill.registry import create_projector
from xdistill.types import Outputs, Spec, TargetKind

if TYPE_CHECKING:
    from xdistill.losses.parts.weighted_sum import WeightedSum

Need = Literal["logits", "embedding", "hidden", "labels", "index"]
"""An input that a loss may read: a part of the outputs, `target`, or `index`."""


class Loss(nn.Module):
    """A scalar that compares a student's outputs with a teacher's.

    A subclass overrides `forward`. Calling the loss

    - detaches the teacher unless the loss is `mutual`;
    - replaces both embeddings by their projections where projectors are attached and the loss
      lives in the shared space: gradient reaches both projectors, never the teacher's encoder;
    - zeroes the teacher's rows that are not valid, so that their content reaches neither the value
      nor, through a projector, a gradient;
    - disables autocast and converts half precision to float32, so that `forward` may take
      logarithms;
    - passes the teacher's outputs to `remember` afterwards, in training mode, if the loss keeps a
      memory and the teacher is frozen.

    Losses compose: `CrossEntropy() + 0.9 * KD()` is itself a Loss.

    Attributes:
        name: the registered name, which logs use.
        mutual: gradient also flows into the teacher.
        shared_space: the loss compares the two embeddings, which therefore must live in one space.
            False for a loss on logits, or on the geometry of each modality.
        projects_in_forward: `forward` gets the embeddings as the encoders returned them and calls
            `project` itself (SACD needs both).
        composite: it holds other losses and passes its arguments on to them unchanged.
        task: it looks at neither the teacher nor `valid`.
        reads: the kinds of target that it is defined for (`PairedBatch.target`). `forward` gets a
            target of any kind that is named here; another is refused by a loss that reads labels
            and withheld from one that reads none. A loss on logits that does not name "values"
            takes them for scores of classes and refuses a regression.
        unpaired: defined, too, where the rows of the student and of the teacher are different
            samples (`UnpairedBatch`); False for a loss that compares row by row.
        per_position: where outputs have positions, [B, L, K], `forward` gets each position as a
            row, B·L of them. Without it such outputs are refused, or, where `reads` names
            "sequence", given as they are.
        recommended_weight: the paper's weight of this term beside a cross-entropy of weight 1.
        recommended_warmup_epochs: the epochs over which that weight grows from 0 in the paper.
        formula: the loss in one line, for listings.
        paper: who proposed it, where and when, for listings.
        needs: the inputs that the loss requires.
        uses: the inputs that it uses if they are given.
        dim: width of the shared space when the loss makes projectors of its own.
        terms: the last value of each part, detached and unweighted.
        keeps_memory: it keeps outputs of the teacher from earlier batches; `remember` writes them.
        slot_per_row: it has a memory slot for each training row, and so no value for other rows.
        teacher_momentum: momentum of the slow copy of a teacher that trains, whose outputs
            `remember` gets instead of the teacher's own.
        teacher_trains: whether `track_teacher` was called.
        parameters_read: how many parameters there were when they were last asked for; None once
            that was checked.
    """

    name: ClassVar[str] = ""
    mutual: bool = False
    shared_space: bool = True
    keeps_memory: bool = False
    slot_per_row: bool = False
    teacher_momentum: float = 0.999
    projects_in_forward: ClassVar[bool] = False
    composite: ClassVar[bool] = False
    task: ClassVar[bool] = False
    reads: tuple[TargetKind, ...] = ("class",)
    per_position: ClassVar[bool] = False
    unpaired: ClassVar[bool] = False
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
        self.teacher_trains = False
        self.parameters_read: int | None = None

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """As of any module. The number is kept, to tell if an optimiser was made before `bind`."""
        found = list(super().named_parameters(prefix, recurse, remove_duplicate))
        if recurse:
            self.parameters_read = len(found)
        return iter(found)

    def _warn_of_late_parameters(self) -> None:
        read, now = self.parameters_read, sum(1 for _ in super().named_parameters())
        self.parameters_read = None
        if read is not None and now > read:
            warnings.warn(
                f"{self.label} has {now} parameters, but had {read} when loss.parameters() was "
                "last read: an optimiser made from those never trains the others; call "
                "loss.bind(student, teacher) first, then make the optimiser",
                stacklevel=3,
            )

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        target: Shaped[Tensor, "b ..."] | np.ndarray | None = None,
        *,
        valid: Bool[Tensor, " b"] | None = None,
        index: Integer[Tensor, " b"] | np.ndarray | None = None,
    ) -> Float[Tensor, ""]:
        """The loss of a batch.

        Args:
            student: the student's outputs for B rows.
            teacher: the teacher's outputs for the same rows.
            target: [B] class index of any integer type, -1 where unlabelled, or of another kind
                (`PairedBatch`).
            valid: [B] False where the teacher's modality is missing; those rows contribute only to
                task losses.
            index: [B] position of each row in the dataset, for losses with instance memories.

        A NaN in a row that counts, in a part of the outputs that the loss reads, makes the value
        and its gradient NaN.

        Raises:
            TypeError: outputs that are not `Outputs`, a target or index of another type, or a
                `valid` that is not bool.
            ValueError: numbers of rows that disagree, a target out of range or of a kind that the
                loss is not defined for, outputs with positions where it is defined without, or a
                value that is no scalar.
        """
        check_outputs(self.label, student, teacher)
        target = as_tensor("target", target, student, floating=True)
        index = as_tensor("index", index, student)
        check_rows(student, teacher, target, valid, index)
        if self.parameters_read is not None and self.training:
            self._warn_of_late_parameters()
        given = Arguments(student, teacher, target, valid, index)
        if not self.composite:
            given = readable(self, given)
        if torch.get_default_dtype() in HALF:  # within a step of precision="bf16-true"
            with default_float32():
                return self._value(*given)
        return self._value(*given)

    def _value(
        self,
        student: Outputs,
        teacher: Outputs,
        target: Tensor | None,
        valid: Tensor | None,
        index: Tensor | None,
    ) -> Tensor:
        if not self.mutual:
            teacher = teacher.detach()
        with torch.autocast(student.embedding.device.type, enabled=False):
            student, teacher = student.map(at_least_float32), teacher.map(at_least_float32)
            if not self.composite:
                student, teacher = in_one_precision(self, student, teacher)
            if valid is not None:
                teacher = without_missing(teacher, valid)
            raw, given = teacher, student
            if self.shared_space and not self.projects_in_forward:
                student, teacher = self.project(student, teacher)
            value = super().__call__(student, teacher, target, valid=valid, index=index)
            check_scalar(self.label, value)
            if not self.composite:
                parts = {*self.needs, *self.uses}
                value = carry_nan(value, parts, (given, raw), valid)
            if self.keeps_memory and self.training and not self.teacher_trains:
                with torch.no_grad():
                    self.remember(raw.detach(), target, valid=valid, index=index)
        if not self.composite:
            self.terms = {**self.terms, self.label: value.detach()}
        return value

    @property
    def inputs(self) -> tuple[Need, ...]:
        """What it needs and uses, as configured."""
        return (*self.needs, *self.uses)

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
        """Make parameters and buffers for the given widths. `Distiller` calls it.

        A loss in the shared space makes a pair of MLP projectors if it has a `dim` or if the widths
        differ, unless a pair is attached already.

        Args:
            student: the student's Spec or its outputs for any batch, which hold the shapes of
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
                "(teacher); call loss.bind(student, teacher), which makes projectors, or set "
                "shared_space = False in a loss that does not compare embeddings"
            )
        return student, teacher

    def shared_width(self, student_dim: int) -> int:
        """The width of the embeddings in `forward`: the projector's output, if there is one.

        Args:
            student_dim: width of the student's embedding.
        """
        if self.student_projector is None:
            return student_dim
        probe = copy.deepcopy(self.student_projector).eval()  # a BatchNorm must not see the zeros
        like = next(probe.parameters(), torch.empty(0))
        with torch.no_grad():
            return probe(like.new_zeros(1, student_dim)).shape[1]

    def remember(
        self,
        teacher: Outputs,
        target: Shaped[Tensor, "b ..."] | None = None,
        *,
        valid: Bool[Tensor, " b"] | None = None,
        index: Integer[Tensor, " b"] | None = None,
    ) -> None:
        """Put a training batch into the memory. To be overridden by a loss that `keeps_memory`.

        It is called once for each training batch, after the loss of that batch, without autograd:
        by the loss itself for a frozen teacher, by the `Distiller` for one that trains.

        Args:
            teacher: outputs for B rows, not projected, of the teacher or of its slow copy.
            target: as in the call of the loss.
            valid: [B] False where the teacher's modality is missing; what those rows hold must not
                enter the memory.
            index: [B] position of each row in the dataset.
        """
        raise NotImplementedError(
            f"{self.label} says keeps_memory but has no method that fills the memory; override "
            "remember(teacher, target, *, valid, index)"
        )

    def track_teacher(self) -> None:
        """Prepare for a teacher that trains, whose older outputs become stale in the memory.

        From now on the caller fills the memory, in place of the loss itself, with what a slow copy
        of the teacher (an exponential moving average, of `teacher_momentum`) returns. `Distiller`
        calls this once, after `bind` and before the first step.
        """
        self.teacher_trains = True

    def record(self, parts: Mapping[str, Tensor]) -> None:
        """Show the parts of the value in `terms`, each as "name/part", detached."""
        self.terms = {f"{self.label}/{part}": value.detach() for part, value in parts.items()}

    def leaves(self) -> Iterator[Loss]:
        """The losses that this one is composed of: itself, or those that it holds."""
        yield self

    def set_progress(
        self, step: int | float, total: int | float, steps_per_epoch: int | float = 1
    ) -> None:
        """Set how far training is, for the schedules inside (`warmup`, `ramp`). `fit` calls it.

        Args:
            step: steps done so far.
            total: steps of the whole training.
            steps_per_epoch: number of steps in an epoch. With 1, the default, a step is an epoch:
                `loss.set_progress(epoch, max_epochs)` once in each.

        Raises:
            ValueError: a step below 0, or a total or an epoch of no steps.
        """
        for child in self.children():
            if isinstance(child, Loss):
                child.set_progress(step, total, steps_per_epoch)

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's options, so that `type(loss)(**loss.options)` makes another like it.

        A loss stores each option as an attribute of the same name; the name of a module that it
        makes from one, `adapter`, as `adapter_name`. Modules and tensors, and the widths that
        `bind` learns, are left out.
        """
        own, names = vars(self), inspect.signature(type(self)).parameters
        stored = {name: f"{name}_name" if f"{name}_name" in own else name for name in names}
        return {name: own[place] for name, place in stored.items() if place in own}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())

    def weighted_terms(self) -> list[tuple[float, Loss]]:
        """The summands that this loss contributes to a sum, each with its weight."""
        return [(1.0, self)]

    # WeightedSum is a subclass of this class, so its module is imported when it is needed.
    def __add__(self, other: Loss) -> WeightedSum:
        from xdistill.losses.parts.weighted_sum import WeightedSum

        if not isinstance(other, Loss):
            return NotImplemented
        return WeightedSum([*self.weighted_terms(), *other.weighted_terms()])

    def __radd__(self, other: object) -> Loss:
        return self if other == 0 else NotImplemented

    def __mul__(self, weight: float) -> WeightedSum:
        from xdistill.losses.parts.weighted_sum import WeightedSum

        if isinstance(weight, bool) or not isinstance(weight, int | float):
            return NotImplemented
        return WeightedSum([(weight * own, loss) for own, loss in self.weighted_terms()])

    __rmul__ = __mul__


def width(spec: Spec | Outputs | int | Any) -> int:
    """The width of an embedding from a Spec, outputs, an encoder, or the number itself."""
    if isinstance(spec, Outputs):
        return spec.embedding.shape[-1]
    dim = spec if isinstance(spec, int) else getattr(spec, "dim", None)
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 0:
        raise TypeError(
            "bind takes an encoder (a module with `dim` and `modality` that returns xd.Outputs), a "
            f"Spec, Outputs or the width of an embedding, got {type(spec).__name__}"
            f"{'' if dim is None else f' of width {dim!r}'}; give the embedding's width itself, as "
            "in loss.bind(512, 128), or wrap the network with xd.wrap"
        )
    return dim
