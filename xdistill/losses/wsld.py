"""Weighted soft labels: distil most where the student is worse than the teacher."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.kl import kl, log_probabilities
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.non_target import log_odds
from xdistill.losses.parts.options import require_positive
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


@torch.no_grad()
def soft_label_weights(
    student: Float[Tensor, "b k"], teacher: Float[Tensor, "b k"], target: Int64[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """1 − exp(−CE_s/CE_t) for each row, as a constant (Zhou et al., ICLR 2021).

    CE is the cross-entropy with the label at temperature 1. The weight is 1 − 1/e where both are
    equally good, near 1 where the student is much worse and near 0 where it is much better. A
    teacher whose CE is 0 gives 1, or 0 to a student whose CE is 0 too.
    """
    ce_s = -F.logsigmoid(log_odds(student, target))
    ce_t = -F.logsigmoid(log_odds(teacher, target))
    ratio = ce_s / ce_t.clamp(min=torch.finfo(ce_t.dtype).tiny)
    return -torch.expm1(-ratio)


def wsld(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 2.0,
) -> Float[Tensor, ""]:
    """Mean of (1 − exp(−CE_s/CE_t))·T²·KL(softmax(z_t/T) ‖ softmax(z_s/T)) (Zhou et al., 2021).

    No gradient flows through the weight. The public code has the cross-entropy with the soft labels
    instead of KL, which gives the same gradient and another value. Rows labelled -1 and rows
    without a teacher are left out.
    """
    keep = row_mask(valid, student) & (target >= 0)
    log_s = log_probabilities(student, keep, temperature)
    log_t = log_probabilities(teacher, keep, temperature)
    divergence = kl(log_t, log_s)  # [B]
    weights = soft_label_weights(zero_rows(student, keep), zero_rows(teacher, keep), target)
    return temperature**2 * masked_mean(weights * divergence, keep)


@register_loss("wsld")
class WSLD(Loss):
    """KD that weighs a row less, the better the student predicts its label than the teacher does.

    The weight beside a cross-entropy of 1 is 2.25; the public ImageNet code has 2.5.

    Args:
        temperature: divides both logits in the divergence; the weights always see temperature 1.
    """

    name = "wsld"
    formula = "(1 − exp(−CE_s/CE_t))·T²·KL(softmax(z_t/T) ‖ softmax(z_s/T))"
    paper = "Zhou et al., ICLR 2021"
    needs = ("logits", "labels")
    shared_space = False
    per_position = True
    recommended_weight = 2.25

    def __init__(self, temperature: float = 2.0):
        super().__init__()
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        target = require_target(self.name, target)
        return wsld(student.logits, teacher.logits, target, valid, self.temperature)
