"""K hard negatives from the batch and a memory bank, the contrast of SACD."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.kernels import khn
from xdistill.kernels.khn import Form
from xdistill.kernels.mined.mining import Mining
from xdistill.kernels.mined.relations import Positives
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.memory import EMA, MemoryBank
from xdistill.registry import register_loss
from xdistill.types import Outputs


class Rows(NamedTuple):
    """A batch as the contrast sees it.

    Attributes:
        student: [B, D] in the shared space, of any length.
        teacher: [B, D] in the shared space, of any length.
        keep: [B] the rows that count.
        target: [B] class, -1 where unlabelled, or None.
        index: [B] sample, or None.
    """

    student: Float[Tensor, "b d"]
    teacher: Float[Tensor, "b d"]
    keep: Bool[Tensor, " b"]
    target: Int64[Tensor, " b"] | None
    index: Int64[Tensor, " b"] | None


@register_loss("khn")
class KHN(Loss):
    """The student's embedding is drawn to its teacher's and pushed from K mined negatives.

    Which pairs are positive, negative, or neither (a label of -1), and what each form and each
    mining mean: `xdistill.kernels.khn`. Embeddings are projected, then brought to length one.

    The bank holds the teacher's embeddings of the last rows of training *before* projection and
    projects them anew at each use, so no key is stale and one layout serves every projector. The
    keys of the bank push the student only: no gradient goes through them into the projector, which
    would triple their cost and forbid writing the ring in place. The batch's own keys do train the
    projector. The bank is read and written in training mode alone, so the value in eval mode is a
    function of the batch.

    A teacher that trains makes keys go stale before the projector. Then whoever trains it
    (`Distiller`) calls `track_teacher()` once after `bind` and, after the loss of every training
    batch, `enqueue(outputs_of_an_EMA_of_the_teacher, target, valid=valid, index=index)`. The bank
    is read through an EMA of the projector.

    Args:
        margin: m, in squared distance between rows of length one (0 to 4).
        k: number K of negatives for each anchor and positive.
        bank_size: number Q of keys in the bank; 0 for none.
        form: "triplet" as published, or "nce".
        mining: "semihard", "hard", "random" or "all".
        positives: "class" makes keys of the anchor's class positives, "pair" its own alone. Where
            rows may have several classes (target [B, K]), every row counts as unlabelled.
        symmetric: add the same loss of teacher anchors among the student's rows of the batch. The
            bank is no part of it: its keys are of the teacher's kind.
        tau: temperature of form="nce".
        momentum: of the EMA of the projector, for a teacher that trains.
        seed: of mining="random".
        dim: width of the shared space; makes projectors in `bind`. None: projectors only where the
            widths differ.
        student_dim: width of the student's embedding; with `teacher_dim` it replaces `bind`.
        teacher_dim: width of the teacher's embedding.
    """

    name = "khn"
    formula = "mean over K hard negatives of relu(d_p − d_n + m)"
    paper = "Han et al., 2022"
    uses = ("labels", "index")
    multi_label = True
    projects_in_forward = True
    draws: Tensor

    def __init__(
        self,
        margin: float = 0.5,
        k: int = 5,
        bank_size: int = 4096,
        form: Form = "triplet",
        mining: Mining = "semihard",
        positives: Positives = "class",
        symmetric: bool = True,
        *,
        tau: float = 0.1,
        momentum: float = 0.999,
        seed: int = 0,
        dim: int | None = None,
        student_dim: int | None = None,
        teacher_dim: int | None = None,
    ):
        super().__init__()
        if bank_size < 0:
            raise ValueError(f"bank_size must be 0 (no bank) or more, got {bank_size}")
        self.options: dict[str, Any] = {
            "margin": margin,
            "num_negatives": k,
            "form": form,
            "mining": mining,
            "positives": positives,
            "temperature": tau,
        }
        self.bank_size = bank_size
        self.symmetric = symmetric
        self.momentum = momentum
        self.seed = seed
        self.dim = dim
        self.bank: MemoryBank | None = None
        self.teacher_trains = False
        self.momentum_projector: EMA | None = None
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))
        _try_options(self.options)
        self._bind_given(student_dim, teacher_dim)

    def _bind_given(
        self, student_dim: int | None, teacher_dim: int | None, num_classes: int | None = None
    ) -> None:
        if (student_dim is None) != (teacher_dim is None):
            raise ValueError(
                f"got student_dim={student_dim} and teacher_dim={teacher_dim}; give both, or "
                "neither and call bind"
            )
        if student_dim is not None and teacher_dim is not None:
            self.bind(student_dim, teacher_dim, num_classes)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        super().bind(student, teacher, num_classes, num_samples)
        teacher_dim = width(teacher)
        if self.bank_size and (self.bank is None or self.bank.dim != teacher_dim):
            self.bank = MemoryBank(self.bank_size, teacher_dim)
        return self

    def track_teacher(self) -> None:
        """Read the bank through an EMA of the projector, and leave `enqueue` to the caller.

        To be called once, after projectors are attached and before an optimiser step.
        """
        self.teacher_trains = True
        if self.teacher_projector is not None:
            self.momentum_projector = EMA(self.teacher_projector, self.momentum)

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        rows = self.rows(student, teacher, target, valid, index)
        value = self.contrast(rows)
        self._remember(teacher, rows)
        return value

    def rows(
        self,
        student: Outputs,
        teacher: Outputs,
        target: Int64[Tensor, "b ..."] | None,
        valid: Bool[Tensor, " b"] | None,
        index: Int64[Tensor, " b"] | None,
    ) -> Rows:
        """Project both sides. Rows that do not count become zeros before anything reads them.

        Raises:
            ValueError: the loss is not bound, or was bound to other widths.
        """
        if self.bank_size and self.bank is None:
            raise ValueError(
                f"{self.label} has no memory bank yet: call bind(student, teacher), or give "
                "student_dim and teacher_dim"
            )
        keep = row_mask(valid, student.embedding)
        student, teacher = (
            outputs.with_embedding(zero_rows(outputs.embedding, keep))
            for outputs in (student, teacher)
        )
        student, teacher = self.project(student, teacher)
        return Rows(student.embedding, teacher.embedding, keep, _one_class(target), index)

    def contrast(self, rows: Rows) -> Float[Tensor, ""]:
        """The mined loss of both directions."""
        shared = {"valid": rows.keep, "index": rows.index, **self.options}
        seed = self.seed + 2 * self.draws
        v, e = unit_rows(rows.student), unit_rows(rows.teacher)
        value = khn(v, e, rows.target, seed=seed, **self._bank_keys(rows), **shared)
        if self.symmetric:
            value = value + khn(e, v, rows.target, seed=seed + 1, **shared)
        return value

    @torch.no_grad()
    def _bank_keys(self, rows: Rows) -> dict[str, Tensor]:
        if self.bank is None or not self.training:
            return {}
        keys = self.bank.keys.to(rows.teacher.dtype)
        projector = self.momentum_projector or self.teacher_projector
        return {
            "bank": unit_rows(keys if projector is None else projector(keys)),
            "bank_labels": self.bank.labels,
            "bank_index": self.bank.indices,
            "bank_valid": self.bank.occupied,
        }

    def _remember(self, teacher: Outputs, rows: Rows) -> None:
        """What follows the loss of a training batch."""
        if not self.training:
            return
        self.draws.add_(1)
        if not self.teacher_trains:
            self.enqueue(teacher, rows.target, valid=rows.keep, index=rows.index)

    @torch.no_grad()
    def enqueue(
        self,
        teacher: Outputs,
        target: Int64[Tensor, "b ..."] | None = None,
        *,
        valid: Bool[Tensor, " b"] | None = None,
        index: Int64[Tensor, " b"] | None = None,
    ) -> None:
        """Write the teacher's outputs of a batch into the bank; `forward` does it for a frozen one.

        Args:
            teacher: outputs of the frozen teacher, or of an EMA of one that trains.
            target: [B] class, -1 where unlabelled.
            valid: [B] False where the teacher's modality is missing.
            index: [B] sample.
        """
        if self.momentum_projector is not None and self.teacher_projector is not None:
            self.momentum_projector.update(self.teacher_projector)
        if self.bank is not None:
            self.bank.enqueue(teacher.embedding, _one_class(target), index, valid)


def _one_class(target: Int64[Tensor, "b ..."] | None) -> Int64[Tensor, " b"] | None:
    """The classes of rows that have one each; rows of several count as unlabelled."""
    return None if target is None or target.ndim > 1 else target


def _try_options(options: dict[str, Any]) -> None:
    """Let the kernel refuse wrong options now rather than at the first batch."""
    row = torch.ones(1, 1)
    khn(row, row, None, **options)
