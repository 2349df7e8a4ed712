"""Margin-aware distillation: similarities, those of uncertain rows first."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.kl import log_probabilities
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.registry import register_loss


def mad(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    teacher_logits: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    official: bool = False,
) -> Float[Tensor, ""]:
    """Σ_ij (Ĝ_s − Ĝ_t)²_ij·H_i / Σ_i H_i (Wei et al., CVPR 2023).

    Ĝ is the Gram matrix with rows of length one, as in `sp`, and H_i the entropy of the teacher's
    probabilities of row i. Rows without a teacher are left out. Where the teacher is certain of
    every row there is no margin to learn, and the value is 0.

    Args:
        official: weigh entry (i, j) by H_j, as the public code does.
    """
    keep = row_mask(valid, student)
    student, teacher = zero_rows(student, keep), zero_rows(teacher, keep)
    gap = unit_rows(student @ student.T) - unit_rows(teacher @ teacher.T)  # [B, B]
    log_p = log_probabilities(teacher_logits, keep, 1.0)
    entropy = torch.special.entr(log_p.exp()).sum(dim=1)  # [B]; 0 of a class that is excluded
    entropy = torch.where(keep, entropy, 0.0)
    share = entropy / entropy.sum().clamp(min=torch.finfo(entropy.dtype).tiny)
    return (gap.square().sum(dim=0 if official else 1) * share).sum()


@register_loss("mad")
class MAD(Loss):
    """`sp` with the weight of a row growing with the teacher's uncertainty about it.

    Rows near a boundary between classes say most about it. Made for students that see whichever
    modalities there are (MMANet); 30 is the weight in its public scripts. Their code lets the
    weights run along the other axis of the matrix, of which the rows, not the columns, have length
    one; the paper's text could not be opened to tell which is meant.

    Args:
        official: weigh columns, as the public code does.
    """

    name = "mad"
    formula = "Σ (Ĝ_s − Ĝ_t)²·H_i/Σ H, H the entropy of p_t"
    paper = "Wei et al., CVPR 2023"
    needs = ("embedding", "logits")
    shared_space = False
    recommended_weight = 30.0

    def __init__(self, official: bool = False):
        super().__init__()
        self.official = official

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, teacher)
        return mad(student.embedding, teacher.embedding, teacher.logits, valid, self.official)
