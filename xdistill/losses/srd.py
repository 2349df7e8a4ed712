"""Simple recipe distillation: a linear projector, normalised columns, the log of a sum."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.losses.parts.centred_rows import centred_rows
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask
from xdistill.losses.parts.options import require_counts, require_positive
from xdistill.registry import register_loss

EPS = 1e-5
"""Added inside the logarithm, as in the authors' code: equal sides give log EPS, not −∞."""


def srd(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
    alpha: float = 4.0,
    official: bool = False,
) -> Float[Tensor, ""]:
    """log Σ |BN(W f_s) − BN(f_t)|^α over rows and columns.

    Miles and Mikolajczyk, AAAI 2024, with the projected student W f_s as first argument. The sum
    over rows instead of their mean adds a constant, log B, and changes no gradient.

    `official` gives the loss that the authors' published code trains with, which is not the
    paper's: log Σ |1 − c|^α over columns, c being the correlation over the batch of a column of
    both sides. As columns have variance 1, 1 − c is half the mean of (BN(W f_s) − BN(f_t))², so the
    power acts on whole columns rather than on single features.
    """
    keep = row_mask(valid, student)
    ours, theirs = batch_norm(student, keep), batch_norm(teacher, keep)
    gap = ours - theirs
    if official:
        gap = 1 - (ours * theirs).sum(dim=0) / keep.sum().clamp(min=1)
    value = (gap.abs().pow(alpha).sum() + EPS).log()
    return torch.where(keep.any(), value, torch.zeros_like(value))


def batch_norm(
    x: Float[Tensor, "b d"], keep: Bool[Tensor, " b"], eps: float = 1e-5
) -> Float[Tensor, "b d"]:
    """Columns of mean 0 and variance 1 over the rows that count; zeros in the other rows.

    As BatchNorm1d in training mode without affine parameters, and without running statistics.
    """
    x = centred_rows(x, keep)
    variance = x.square().sum(dim=0) / keep.sum().clamp(min=1)
    return x * (variance + eps).rsqrt()


@register_loss("srd")
class SRD(Loss):
    """The projected student regresses the teacher, with emphasis on the largest differences.

    Columns are normalised by the statistics of the batch in training and in evaluation alike, so
    the value depends on the batch alone and no buffer is kept. Zero is not a lower bound: where
    both sides agree the value is log 1e-5. A single row has no variance, so it teaches nothing.

    Args:
        alpha: the power; a larger one emphasises the largest differences more.
        official: the loss of the authors' code instead of the paper's; see `srd`.
        student_dim: width of the student's embedding; with `teacher_dim` it replaces `bind`.
        teacher_dim: width of the teacher's embedding.

    Raises:
        ValueError: `alpha` under 1.
    """

    name = "srd"
    formula = "log Σ|BN(W f_s) − BN(f_t)|^α"
    paper = "Miles and Mikolajczyk, AAAI 2024"
    shared_space = False
    per_position = True

    def __init__(
        self,
        alpha: float = 4.0,
        official: bool = False,
        student_dim: int | None = None,
        teacher_dim: int | None = None,
    ):
        super().__init__()
        require_counts(self.name, student_dim=student_dim, teacher_dim=teacher_dim)
        if not alpha >= 1:
            raise ValueError(
                f"srd: alpha must be at least 1 for a finite gradient at 0, got {alpha}"
            )
        require_positive(self.name, alpha=alpha)
        self.alpha = alpha
        self.official = official
        self.projector: nn.Linear | None = None
        if student_dim is not None and teacher_dim is not None:
            self.bind(student_dim, teacher_dim)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.projector is None:
            self.projector = nn.Linear(width(student), width(teacher))
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        if self.projector is None:
            raise ValueError(
                "srd has no projector yet; call loss.bind(student, teacher), or give student_dim "
                "and teacher_dim"
            )
        ours = self.projector(student.embedding)
        return srd(ours, teacher.embedding, valid, self.alpha, self.official)
