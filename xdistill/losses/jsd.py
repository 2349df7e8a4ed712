"""The Jensen–Shannon divergence between student and teacher."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.kl import kl, log_probabilities
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask
from xdistill.losses.parts.options import require_positive
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def jsd(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean over rows of ½KL(p‖m) + ½KL(q‖m), m = ½(p + q) (Lin, 1991); at most log 2.

    p and q are the softmax of logits / temperature. log m is a logaddexp, so that logits of ±1e4
    give a finite value. What CCL and SACD call JSD is `jeffreys`.
    """
    keep = row_mask(valid, student)
    log_p = log_probabilities(student, keep, temperature)
    log_q = log_probabilities(teacher, keep, temperature)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return masked_mean(0.5 * (kl(log_p, log_m) + kl(log_q, log_m)), keep)


@register_loss("jsd")
class JSD(Loss):
    """Bounded, symmetric divergence of the class probabilities.

    Args:
        temperature: divides both logits.
    """

    name = "jsd"
    formula = "½KL(p_s‖m) + ½KL(p_t‖m), m = ½(p_s + p_t)"
    paper = "Lin, IEEE Trans. Inf. Theory 1991"
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
        return jsd(student.logits, teacher.logits, valid, self.temperature)
