"""The Jeffreys divergence between student and teacher."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.kl import log_probabilities
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask
from xdistill.losses.parts.options import require_positive
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def jeffreys(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean over rows of KL(p‖q) + KL(q‖p) = Σ (p − q)(log p − log q) (Jeffreys, 1946).

    p and q are the softmax of logits / temperature. The published code of CCL and SACD computes
    this quantity under the name JSD. Logarithms come from log_softmax, so that logits of ±1e4
    give a finite value.
    """
    keep = row_mask(valid, student)
    log_p = log_probabilities(student, keep, temperature)
    log_q = log_probabilities(teacher, keep, temperature)
    return masked_mean(((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1), keep)


@register_loss("jeffreys")
class Jeffreys(Loss):
    """Symmetric divergence of the class probabilities.

    Args:
        temperature: divides both logits.
    """

    name = "jeffreys"
    formula = "KL(p_s‖p_t) + KL(p_t‖p_s)"
    paper = "Jeffreys, 1946"
    needs = ("logits",)
    shared_space = False
    per_position = True
    recommended_weight = 0.5

    def __init__(self, temperature: float = 1.0):
        super().__init__()
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        return jeffreys(student.logits, teacher.logits, valid, self.temperature)
