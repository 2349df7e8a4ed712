"""Similarity-preserving distillation."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.registry import register_loss


def sp(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """‖rownorm(F_s F_sᵀ) − rownorm(F_t F_tᵀ)‖²_F / B² (Tung and Mori, ICCV 2019).

    B counts the rows that are valid. The widths may differ.
    """
    keep = row_mask(valid, student)
    student, teacher = zero_rows(student, keep), zero_rows(teacher, keep)
    gap = unit_rows(student @ student.T) - unit_rows(teacher @ teacher.T)  # [B, B]
    return gap.square().sum() / keep.sum().square().clamp(min=1)


@register_loss("sp")
class SP(Loss):
    """Rows that are similar for the teacher become similar for the student."""

    name = "sp"
    formula = "‖rownorm(G_s) − rownorm(G_t)‖²/B²"
    paper = "Tung and Mori, ICCV 2019"
    shared_space = False
    recommended_weight = 3000.0

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return sp(student.embedding, teacher.embedding, valid)
