"""Weighted transformed teacher matching: rows count by how undecided the teacher is."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.kl import log_probabilities
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask
from xdistill.losses.parts.options import require_positive
from xdistill.losses.ttm import transformed_divergence
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def wttm(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    gamma: float = 0.2,
) -> Float[Tensor, ""]:
    """Mean of U·KL(p_t^γ / U ‖ p_s), U = Σ p_t^γ (Zheng and Yang, ICLR 2024, section 4).

    U is 1 where the teacher is sure, and K^(1 − γ) where it is undecided between K classes. Rows
    without a teacher are left out.
    """
    keep = row_mask(valid, student)
    power_sum = (gamma * log_probabilities(teacher, keep, 1.0)).exp().sum(dim=1)  # [B]
    return masked_mean(power_sum * transformed_divergence(student, teacher, valid, gamma), keep)


@register_loss("wttm")
class WTTM(Loss):
    """`ttm` with more weight for rows on which the teacher hesitates: these say more than a label.

    Args:
        gamma: γ, the power of the teacher's probabilities, as in `ttm`. The public code's example
            weighs the term 4 at γ = 0.2, beside another distillation.
    """

    name = "wttm"
    formula = "U·KL(p_t^γ/U ‖ p_s), U = Σ p_t^γ"
    paper = "Zheng and Yang, ICLR 2024"
    needs = ("logits",)
    shared_space = False
    per_position = True
    recommended_weight = 4.0

    def __init__(self, gamma: float = 0.2):
        super().__init__()
        require_positive(self.name, gamma=gamma)
        self.gamma = gamma

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        return wttm(student.logits, teacher.logits, valid, self.gamma)
