"""Logit standardisation: knowledge distillation on logits of mean 0 and deviation 1."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.kd import kd
from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_positive
from xdistill.registry import register_loss


def standardise(
    logits: Float[Tensor, "b k"], eps: float = 1e-7, official: bool = False
) -> Float[Tensor, "b k"]:
    """Every row as a z-score, (z − mean z)/σ(z) (Sun et al., CVPR 2024, Algorithm 1).

    σ² divides by K, as Algorithm 1 and its bound of √(K − 1) say; the public code divides by K − 1
    (`official`). Where σ is not above `eps` the row is centred alone. The code adds `eps` to σ
    instead: one row of equal logits, such as a zero-initialised head returns, then sends a gradient
    of 1/eps through the student.
    """
    centred = logits - logits.mean(dim=1, keepdim=True)
    count = max(logits.shape[1] - int(official), 1)
    deviation = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / count**0.5  # [B, 1]
    return centred / torch.where(deviation > eps, deviation, torch.ones_like(deviation))


def lskd(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 2.0,
    eps: float = 1e-7,
    official: bool = False,
) -> Float[Tensor, ""]:
    """`kd` on standardised logits, T² included (Sun et al., CVPR 2024, Algorithm 2).

    The student must match the teacher's order and relative gaps, not its scale: shifting a row or
    multiplying it by a positive number changes nothing.
    """
    keep = row_mask(valid, student)
    z_s = standardise(zero_rows(student, keep), eps, official)
    z_t = standardise(zero_rows(teacher, keep), eps, official)
    return kd(z_s, z_t, valid, temperature)


@register_loss("lskd")
class LSKD(Loss):
    """KD after each row of logits is standardised to a z-score.

    The weight of 9 is that beside a cross-entropy of 1 in the public code; the paper's ablation
    has 9 beside 0.1. Both include T².

    Args:
        temperature: divides both standardised logits; the paper's base temperature.
        eps: a row whose deviation is not above this is centred only.
        official: divide the variance by K − 1, as the code behind the published numbers does,
            where the paper has K. It equals a temperature that is higher by √(K/(K − 1)), under an
            unchanged T².
    """

    name = "lskd"
    formula = "T²·KL(softmax(Z(z_t)/T) ‖ softmax(Z(z_s)/T)), Z(z) = (z − mean z)/σ(z)"
    paper = "Sun et al., CVPR 2024"
    needs = ("logits",)
    shared_space = False
    per_position = True
    recommended_weight = 9.0

    def __init__(self, temperature: float = 2.0, eps: float = 1e-7, official: bool = False):
        super().__init__()
        require_positive(self.name, temperature=temperature, eps=eps)
        self.temperature = temperature
        self.eps = eps
        self.official = official

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        if student.logits.shape[1] < 3:
            raise ValueError(
                f"lskd needs 3 classes or more, got {student.logits.shape[1]}: two logits of mean "
                "0 and deviation 1 are always ±1, so nothing but their order is left; use kd"
            )
        return lskd(
            student.logits, teacher.logits, valid, self.temperature, self.eps, self.official
        )
