"""Refined logit distillation: what a teacher knows where its first choice is wrong."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.kl import kl
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.non_target import log_odds, odds_kl
from xdistill.losses.parts.options import require_not_negative, require_positive
from xdistill.numerics import EXCLUDED, masked_mean
from xdistill.registry import register_loss


def sample_confidence(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 4.0,
) -> Float[Tensor, ""]:
    """Mean of T²·KL((max p_t, 1 − max p_t) ‖ (p_s(y), 1 − p_s(y))) (Sun et al., ICCV 2025).

    The student is to be as sure of the label as the teacher is of its own first choice, be that
    right or not. Rows labelled -1 and rows without a teacher are left out.
    """
    keep = row_mask(valid, student) & (target >= 0)
    student, teacher = zero_rows(student, keep), zero_rows(teacher, keep)
    odds_s = log_odds(student / temperature, target)
    odds_t = log_odds(teacher / temperature, teacher.argmax(dim=1))
    return temperature**2 * masked_mean(odds_kl(odds_t, odds_s), keep)


def masked_correlation(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 4.0,
) -> Float[Tensor, ""]:
    """Mean of T²·KL(p̂_t ‖ p̂_s), p̂ over the classes that the teacher ranks below y (Sun et al.).

    The label itself, and every class that the teacher finds as likely or likelier, are left out: in
    their order a wrong teacher would mislead. A row with fewer than two classes left has 0. Rows
    labelled -1 and rows without a teacher are left out.
    """
    keep = row_mask(valid, student) & (target >= 0)
    student, teacher = zero_rows(student, keep), zero_rows(teacher, keep)
    teacher = teacher.clamp(min=EXCLUDED / 1e10)  # of −∞, which is below what is masked
    out = teacher >= teacher.gather(1, target.clamp(min=0)[:, None])  # [B, K]
    log_s, log_t = (
        (logits / temperature).masked_fill(out, EXCLUDED).log_softmax(dim=1)
        for logits in (student, teacher)
    )
    return temperature**2 * masked_mean(kl(log_t, log_s), keep)


def rld(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Float[Tensor, ""]:
    """α·`sample_confidence` + β·`masked_correlation` (Sun et al., ICCV 2025)."""
    confidence = sample_confidence(student, teacher, target, valid, temperature)
    correlation = masked_correlation(student, teacher, target, valid, temperature)
    return alpha * confidence + beta * correlation


@register_loss("rld")
class RLD(Loss):
    """The teacher's confidence on the label, and its order of the classes that it ranks below it.

    A relative of `dkd` that a wrong teacher cannot contradict the label with. The public code takes
    the logarithm of saturated probabilities, which is −∞ there, and equals this elsewhere; its
    weight grows over 20 epochs. Its command line has one temperature for both terms, as here.

    Args:
        alpha: weight of the confidence term.
        beta: weight of the correlation term; 8 is the public code's default, for CIFAR-100.
        temperature: divides both logits; the terms are multiplied by its square.
    """

    name = "rld"
    formula = "α·T²·KL((max p_t, rest) ‖ (p_s(y), rest)) + β·T²·KL(p̂_t ‖ p̂_s), p̂ over z_t < z_t(y)"
    paper = "Sun et al., ICCV 2025"
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
        return rld(
            student.logits, teacher.logits, target, valid, self.alpha, self.beta, self.temperature
        )
