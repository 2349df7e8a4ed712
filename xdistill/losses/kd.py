"""Knowledge distillation: the student imitates the teacher's softened probabilities."""

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


def kd(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 4.0,
) -> Float[Tensor, ""]:
    """Mean over rows of T²·KL(softmax(z_t/T) ‖ softmax(z_s/T)) (Hinton et al., 2015, section 2).

    The mean runs over rows, not over rows times classes, which would weaken the term K times. T²
    keeps the gradient's size when T changes.
    """
    keep = row_mask(valid, student)
    log_s = log_probabilities(student, keep, temperature)
    log_t = log_probabilities(teacher, keep, temperature)
    divergence = kl(log_t, log_s)  # [B]
    return temperature**2 * masked_mean(divergence, keep)


@register_loss("kd")
class KD(Loss):
    """The divergence of the student's class probabilities from the teacher's.

    Args:
        temperature: divides both logits; a higher one weighs the unlikely classes more.
    """

    name = "kd"
    formula = "T²·KL(softmax(z_t/T) ‖ softmax(z_s/T))"
    paper = "Hinton et al., 2015"
    needs = ("logits",)
    shared_space = False
    per_position = True
    recommended_weight = 0.9

    def __init__(self, temperature: float = 4.0):
        super().__init__()
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        return kd(student.logits, teacher.logits, valid, self.temperature)
