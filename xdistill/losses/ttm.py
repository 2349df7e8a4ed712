"""Transformed teacher matching: a power of the teacher's probabilities, the student as it is."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.kl import kl, log_probabilities
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask
from xdistill.losses.parts.options import require_positive
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def ttm(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    gamma: float = 0.1,
) -> Float[Tensor, ""]:
    """Mean of KL(p_t^γ / Σ p_t^γ ‖ p_s) (Zheng and Yang, ICLR 2024, section 4).

    Rows without a teacher are left out. The transformed teacher is the softmax of γ·z_t.
    """
    return masked_mean(
        transformed_divergence(student, teacher, valid, gamma), row_mask(valid, student)
    )


def transformed_divergence(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None,
    gamma: float,
) -> Float[Tensor, " b"]:
    """KL(p_t^γ / Σ p_t^γ ‖ p_s) of each row; that of two uniform rows, 0, without a teacher."""
    keep = row_mask(valid, student)
    log_s = log_probabilities(student, keep, 1.0)
    return kl(log_probabilities(teacher, keep, 1 / gamma), log_s)


@register_loss("ttm")
class TTM(Loss):
    """KD that softens the teacher alone.

    KD at temperature T matches tempered students; without that the student also learns a Rényi
    entropy of its own output, which keeps it from being too sure, so that it generalises better.
    The value has no factor T² and its gradient is that of an ordinary cross-entropy.

    Args:
        gamma: γ, the power of the teacher's probabilities, 1/T. 0.1 is that of the public code's
            example, which weighs the term 45 beside a cross-entropy of weight 1.
    """

    name = "ttm"
    formula = "KL(p_t^γ/Σ p_t^γ ‖ p_s)"
    paper = "Zheng and Yang, ICLR 2024"
    needs = ("logits",)
    shared_space = False
    per_position = True
    recommended_weight = 45.0

    def __init__(self, gamma: float = 0.1):
        super().__init__()
        require_positive(self.name, gamma=gamma)
        self.gamma = gamma

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        return ttm(student.logits, teacher.logits, valid, self.gamma)
