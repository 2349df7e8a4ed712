"""Normalised knowledge distillation: the non-target part is normalised without the target."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.non_target import without_target
from xdistill.losses.parts.options import require_not_negative, require_positive
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def nkd(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
    gamma: float = 1.5,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean of −p_t(y)·log p_s(y) − γT²·Σ_{i≠y} N(q_t)_i·log N(q_s)_i (Yang et al., ICCV 2023).

    p is the softmax at temperature 1, N(q) that of logits / T over the classes but y. Both terms
    are cross-entropies: a student equal to the teacher has a value above 0, and no student falls
    below γT² times the entropy of the teacher's N(q_t). Rows labelled -1 and rows without a teacher
    are left out. With two classes the second term is 0.
    """
    keep = row_mask(valid, student) & (target >= 0)
    student, teacher = zero_rows(student, keep), zero_rows(teacher, keep)
    own = target.clamp(min=0)[:, None]
    confidence = teacher.softmax(dim=1).gather(1, own)[:, 0]
    of_target = -confidence * student.log_softmax(dim=1).gather(1, own)[:, 0]  # [B]
    rest_t = (without_target(teacher, target) / temperature).softmax(dim=1)  # [B, K − 1]
    log_rest_s = (without_target(student, target) / temperature).log_softmax(dim=1)
    of_rest = -(rest_t * log_rest_s).sum(dim=1)  # [B]
    return masked_mean(of_target + gamma * temperature**2 * of_rest, keep)


@register_loss("nkd")
class NKD(Loss):
    """A cross-entropy weighted by the teacher's confidence, and one over the other classes.

    The target is excluded from the second softmax. One version of the public code, and code copied
    from it, keeps it, unchanged or as a logit of 0: the shares of the other classes then depend on
    the target again, which the normalisation is meant to prevent.

    Args:
        gamma: weight of the non-target term.
        temperature: divides the logits of the non-target term alone, which T² multiplies.
    """

    name = "nkd"
    formula = "−p_t(y)·log p_s(y) − γT²·Σ_{i≠y} N(q_t)·log N(q_s)"
    paper = "Yang et al., ICCV 2023"
    needs = ("logits", "labels")
    shared_space = False
    per_position = True

    def __init__(self, gamma: float = 1.5, temperature: float = 1.0):
        super().__init__()
        require_not_negative(self.name, gamma=gamma)
        require_positive(self.name, temperature=temperature)
        self.gamma = gamma
        self.temperature = temperature

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        target = require_target(self.name, target)
        return nkd(student.logits, teacher.logits, target, valid, self.gamma, self.temperature)
