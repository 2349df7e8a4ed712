"""Correlation congruence: similarities among the rows of a batch under a Gaussian kernel."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts, require_positive
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def cc(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    valid: Bool[Tensor, " b"] | None = None,
    gamma: float = 0.4,
    order: int = 2,
) -> Float[Tensor, ""]:
    """‖C_s − C_t‖²_F / B², C_ij = K(x_i, x_j) with rows of length one (Peng et al., ICCV 2019).

    K is the Taylor expansion of exp(−γ‖x − y‖²) = e^(−2γ) exp(2γ xᵀy) up to the given order. B
    counts the rows that are valid. The widths may differ.
    """
    keep = row_mask(valid, student)
    ours = taylor_kernel(student, keep, gamma, order)
    theirs = taylor_kernel(teacher, keep, gamma, order)
    return masked_mean((ours - theirs).square(), keep[:, None] & keep[None, :])


def taylor_kernel(
    x: Float[Tensor, "b d"], keep: Bool[Tensor, " b"], gamma: float, order: int
) -> Float[Tensor, "b b"]:
    """Σ_p e^(−2γ) (2γ cos)^p / p!, p from 0 to the order."""
    unit = unit_rows(zero_rows(x, keep))
    power = 2 * gamma * (unit @ unit.T)
    series = torch.ones_like(power)
    for p in range(order, 0, -1):  # Horner: 1 + z/1·(1 + z/2·(1 + …))
        series = 1 + power / p * series
    return math.exp(-2 * gamma) * series


def cc_official(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over neighbours i, i + 1 in the batch of Σ_d |s_i − t_i|_d · |s_{i+1} − t_{i+1}|_d.

    Neighbours are the rows next to each other once those that are not valid are left out.
    """
    keep = row_mask(valid, student)
    gap = (zero_rows(student, keep) - zero_rows(teacher, keep)).abs()
    order = torch.argsort((~keep).int(), stable=True)  # rows that count first, in their order
    gap, keep = gap[order], keep[order]
    return masked_mean((gap[:-1] * gap[1:]).sum(dim=1), keep[1:])


@register_loss("cc")
class CC(Loss):
    """Rows that correlate for the teacher correlate as much for the student.

    The paper's weight is 0.003. On rows of length one the loss stays below 0.6 with this γ, so that
    weight hardly moves a cross-entropy of 1: try weights from 1 to 100.

    Args:
        gamma: γ of the Gaussian kernel; a larger one considers near rows only.
        order: the highest power of the expansion, at least 1.
        official: what the widely copied code (RepDistiller) computes under this name, with a weight
            of 0.02: products of the gaps of neighbouring rows. That is a different loss from the
            paper's: it has no kernel, its value depends on the order of the rows, and it needs
            equal widths. It serves to compare with numbers published from that code.
    """

    name = "cc"
    formula = "‖C_s − C_t‖²/B², C = Σ_p e^(−2γ)(2γ cos(f_i, f_j))^p/p!, p ≤ 2"
    paper = "Peng et al., ICCV 2019"
    shared_space = False
    recommended_weight = 0.003

    def __init__(self, gamma: float = 0.4, order: int = 2, official: bool = False):
        super().__init__()
        require_counts(self.name, order=order)
        require_positive(self.name, gamma=gamma)
        self.gamma = gamma
        self.order = order
        self.official = official

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        s, t = student.embedding, teacher.embedding
        if not self.official:
            return cc(s, t, valid, self.gamma, self.order)
        if s.shape[1] != t.shape[1]:
            raise ValueError(
                f"cc with official=True needs embeddings of one width, got {s.shape[1]} (student) "
                f"and {t.shape[1]} (teacher); project one of them, or take official=False, which "
                "compares any widths"
            )
        return cc_official(s, t, valid)
