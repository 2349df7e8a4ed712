"""Decoupled knowledge distillation: separate weights for the target and the other classes."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.kl import kl
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.non_target import log_odds, odds_kl, without_target
from xdistill.losses.parts.options import require_not_negative, require_positive
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def tckd(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 4.0,
) -> Float[Tensor, ""]:
    """Mean of T²·KL(b_t ‖ b_s), b = (p(y), 1 − p(y)) (Zhao et al., CVPR 2022, equation 5).

    p is the softmax of logits / T. Rows labelled -1 and rows without a teacher are left out.
    """
    _require_classes(student, 2)
    keep = row_mask(valid, student) & (target >= 0)
    odds_s = log_odds(zero_rows(student, keep) / temperature, target)
    odds_t = log_odds(zero_rows(teacher, keep) / temperature, target)
    return temperature**2 * masked_mean(odds_kl(odds_t, odds_s), keep)


def nckd(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 4.0,
) -> Float[Tensor, ""]:
    """Mean of T²·KL(p̂_t ‖ p̂_s), p̂ the softmax over the classes but y (Zhao et al., equation 5).

    Rows labelled -1 and rows without a teacher are left out.

    Raises:
        ValueError: fewer than three classes.
    """
    _require_classes(student, 3)
    keep = row_mask(valid, student) & (target >= 0)
    rest_s = without_target(zero_rows(student, keep), target)
    rest_t = without_target(zero_rows(teacher, keep), target)
    log_s = (rest_s / temperature).log_softmax(dim=1)  # [B, K − 1]
    log_t = (rest_t / temperature).log_softmax(dim=1)
    divergence = kl(log_t, log_s)  # [B]
    return temperature**2 * masked_mean(divergence, keep)


def dkd(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Float[Tensor, ""]:
    """α·TCKD + β·NCKD (Zhao et al., CVPR 2022, equation 7).

    `kd` of a row is TCKD + (1 − p_t(y))·NCKD (equation 6): a teacher that is sure of the target
    suppresses its own knowledge of the other classes, and a constant β restores it.

    Raises:
        ValueError: fewer than three classes.
    """
    of_target = tckd(student, teacher, target, valid, temperature)
    of_rest = nckd(student, teacher, target, valid, temperature)
    return alpha * of_target + beta * of_rest


def _require_classes(logits: Tensor, least: int) -> None:
    classes = logits.shape[1]
    if classes < least:
        raise ValueError(
            f"dkd needs {least} classes or more, got {classes}: with only one class beside the "
            "target NCKD is always 0 and TCKD equals kd; use kd"
        )


@register_loss("dkd")
class DKD(Loss):
    """KD with separate weights for the target's probability and for the distribution of the rest.

    Everything is computed in log space, so that saturated logits are exact. The public code takes
    the log of a saturated probability and masks the target with −1000, which gives infinity and NaN
    there, and equals this elsewhere. The paper lets the weight grow over 20 epochs.

    Args:
        alpha: weight of the target term.
        beta: weight of the non-target term. 8 is for CIFAR-100 and a very confident teacher; the
            public ImageNet configuration has 0.5 and a temperature of 1.
        temperature: divides both logits; the terms are multiplied by its square.
    """

    name = "dkd"
    formula = "α·T²·KL(b_t ‖ b_s) + β·T²·KL(p̂_t ‖ p̂_s), b = (p(y), 1 − p(y)), p̂ over i ≠ y"
    paper = "Zhao et al., CVPR 2022"
    needs = ("logits", "labels")
    shared_space = False
    per_position = True
    recommended_warmup_epochs = 20

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0):
        super().__init__()
        require_not_negative(self.name, alpha=alpha, beta=beta)
        require_positive(self.name, temperature=temperature)
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        target = require_target(self.name, target)
        return dkd(
            student.logits, teacher.logits, target, valid, self.alpha, self.beta, self.temperature
        )
