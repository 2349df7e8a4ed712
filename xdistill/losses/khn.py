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
from xdistill.losses.parts.masking import given_mask, row_mask, zero_rows
from xdistill.losses.parts.options import require_counts, require_positive, require_share
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.memory import EMA, MemoryBank
from xdistill.registry import register_loss
from xdistill.types import Outputs


class Rows(NamedTuple):
    """A batch in the shared space, its rows not yet normalised.

    Attributes:
        student: projected embeddings of the student.
        teacher: projected embeddings of the teacher.
        keep: the rows that count.
        target: class of each row, -1 where unlabelled, or None.
        index: position of each row in the dataset, or None.
    """

    student: Float[Tensor, "b d"]
    teacher: Float[Tensor, "b d"]
    keep: Bool[Tensor, " b"]
    target: Int64[Tensor, " b"] | None
    index: Int64[Tensor, " b"] | None


@register_loss("khn")
class KHN(Loss):
    """The student's embedding is drawn to its teacher's and pushed away from K mined negatives.

    `xdistill.kernels.khn` says which pairs are positive, negative, or neither (a label of -1), and
    what each form and each mining means. Embeddings are projected, then scaled to length one.

    The bank (`Loss.keeps_memory`) holds the teacher's embeddings of the last training rows *before*
    projection and projects them again at each use. No key is stale, and the bank is the same for
    every projector. Its keys push the student only: a gradient through them into the projector
    would triple their cost and forbid writing the bank in place. The batch's own keys do train the
    projector. The bank is read and written in training mode alone, so that the value in eval mode
    depends on the batch alone.

    With a teacher that trains, the bank is filled from a slow copy of it and read through a slow
    copy of the projector.

    Args:
        margin: m, in squared distance between rows of length one (0 to 4).
        num_negatives: number K of negatives for each anchor and positive.
        bank_size: number Q of keys in the bank; 0 for no bank.
        form: "triplet" as published, or "nce".
        mining: "semihard", "hard", "random" or "all".
        positives: "class" makes all keys of the anchor's class positives, "pair" its own alone.
            Where rows may have several classes (target [B, K]), every row counts as unlabelled.
        symmetric: add the same loss with teacher anchors among the student's rows of the batch. The
            bank takes no part in that direction, because its keys are the teacher's.
        temperature: divides the cosines of form="nce".
        teacher_momentum: of the slow copies of teacher and projector, with a teacher that trains.
        seed: seed of mining="random".
        dim: width of the shared space; makes projectors in `bind`. None makes projectors only where
            the widths differ.
        student_dim: width of the student's embedding; with `teacher_dim` it replaces `bind`.
        teacher_dim: width of the teacher's embedding.
    """

    name = "khn"
    formula = "mean over K hard negatives of relu(d_p − d_n + m)"
    paper = "Han et al., 2022"
    uses = ("labels", "index")
    reads = ("class", "classes")
    projects_in_forward = True
    draws: Tensor

    def __init__(
        self,
        *,
        margin: float = 0.5,
        num_negatives: int = 5,
        bank_size: int = 4096,
        form: Form = "triplet",
        mining: Mining = "semihard",
        positives: Positives = "class",
        symmetric: bool = True,
        temperature: float = 0.1,
        teacher_momentum: float = 0.999,
        seed: int = 0,
        dim: int | None = None,
        student_dim: int | None = None,
        teacher_dim: int | None = None,
    ):
        super().__init__()
        require_counts(
            self.label,
            num_negatives=num_negatives,
            dim=dim,
            student_dim=student_dim,
            teacher_dim=teacher_dim,
        )
        require_counts(self.label, 0, bank_size=bank_size)
        require_positive(self.name, temperature=temperature)
        require_positive(self.label, margin=margin)
        require_share(self.label, teacher_momentum=teacher_momentum)
        self.margin = margin
        self.num_negatives = num_negatives
        self.form = form
        self.mining = mining
        self.positives = positives
        self.temperature = temperature
        self.bank_size = bank_size
        self.symmetric = symmetric
        self.keeps_memory = bank_size > 0
        self.teacher_momentum = teacher_momentum
        self.seed = seed
        self.dim = dim
        self.bank: MemoryBank | None = None
        self.momentum_projector: EMA | None = None
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))
        # The kernel refuses wrong options now rather than at the first batch.
        khn(torch.ones(1, 1), torch.ones(1, 1), None, **self._kernel_options())
        self._bind_given(student_dim, teacher_dim)

    def _kernel_options(self) -> dict[str, Any]:
        return {
            "margin": self.margin,
            "num_negatives": self.num_negatives,
            "form": self.form,
            "mining": self.mining,
            "positives": self.positives,
            "temperature": self.temperature,
        }

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
        """Read the bank through a slow copy of the projector; see `Loss.track_teacher`."""
        super().track_teacher()
        if self.teacher_projector is not None:
            self.momentum_projector = EMA(self.teacher_projector, self.teacher_momentum)

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return self.contrast(self.rows(student, teacher, target, valid, index))

    def rows(
        self,
        student: Outputs,
        teacher: Outputs,
        target: Int64[Tensor, "b ..."] | None,
        valid: Bool[Tensor, " b"] | None,
        index: Int64[Tensor, " b"] | None,
    ) -> Rows:
        """Both sides, projected. Rows that do not count are zeroed before anything reads them.

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
        """The mined loss in one or both directions."""
        shared = {"valid": rows.keep, "index": rows.index, **self._kernel_options()}
        seed = self.seed + 2 * self.draws
        v, e = unit_rows(rows.student), unit_rows(rows.teacher)
        value = khn(v, e, rows.target, seed=seed, **self._bank_keys(rows), **shared)
        if self.symmetric:
            value = value + khn(e, v, rows.target, seed=seed + 1, **shared)
        if self.training:
            self.draws.add_(1)
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

    def remember(
        self,
        teacher: Outputs,
        target: Int64[Tensor, "b ..."] | None = None,
        *,
        valid: Bool[Tensor, " b"] | None = None,
        index: Int64[Tensor, " b"] | None = None,
    ) -> None:
        """Write the teacher's unprojected embeddings into the bank; see `Loss.remember`."""
        if self.momentum_projector is not None and self.teacher_projector is not None:
            self.momentum_projector.update(self.teacher_projector)
        if self.bank is not None:
            keep = given_mask(valid, teacher.embedding)
            self.bank.enqueue(teacher.embedding, _one_class(target), index, keep)


def _one_class(target: Int64[Tensor, "b ..."] | None) -> Int64[Tensor, " b"] | None:
    """The class of each row; None where rows may have several, which counts as unlabelled."""
    return None if target is None or target.ndim > 1 else target
