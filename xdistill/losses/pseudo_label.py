"""Pseudo-labels: the teacher's class takes the place of a label that is missing."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def pseudo_label(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    threshold: float = 0.0,
    hard: bool = True,
) -> Float[Tensor, ""]:
    """Mean over unlabelled rows of −log softmax(z_s)[argmax z_t] (Lee, ICML workshop 2013, eq. 15).

    There the network labels its own rows; here the teacher of the other modality does. A threshold
    on its probability as in Sohn et al., FixMatch, NeurIPS 2020, eq. 4: rows below it count with 0.
    With `hard` False the teacher's probabilities take the place of its class,
    −Σ_k softmax(z_t)_k · log softmax(z_s)_k (Hinton et al., 2015, at temperature 1).

    Args:
        student: logits z_s.
        teacher: logits z_t, constants.
        target: [B] class, -1 where unlabelled; None: all rows are.
        valid: [B] False where the teacher is missing.
        threshold: smallest probability of the teacher's class that counts.
        hard: the teacher's class, or its probabilities.
    """
    keep = row_mask(valid, student)
    if target is not None:
        keep = keep & (target < 0)
    student, teacher = zero_rows(student, keep), zero_rows(teacher.detach(), keep)
    probabilities = teacher.softmax(dim=1)
    confidence, label = probabilities.max(dim=1)
    values = F.cross_entropy(student, label if hard else probabilities, reduction="none")
    values = torch.where(confidence < threshold, torch.zeros_like(values), values)
    values = values + 0 * confidence  # a teacher's NaN must not become a class
    return masked_mean(values, keep)


@register_loss("pseudo_label")
class PseudoLabel(Loss):
    """The cross-entropy of unlabelled rows with the class that the teacher finds likeliest.

    It keeps nothing of the teacher but its decision, or with `hard` False its probabilities, and so
    is the baseline that a method has to beat which claims to transfer more.

    Args:
        threshold: smallest probability of the teacher's class that counts; 0 takes every row.
        hard: the teacher's class, or its probabilities.
    """

    name = "pseudo_label"
    formula = "−log p_s(argmax z_t), rows without a label"
    paper = "Lee, ICML workshop 2013"
    needs = ("logits",)
    uses = ("labels",)
    shared_space = False
    per_position = True

    def __init__(self, threshold: float = 0.0, hard: bool = True):
        super().__init__()
        if not 0 <= threshold < 1:
            raise ValueError(f"pseudo_label: threshold must be from 0 to below 1, got {threshold}")
        self.threshold = threshold
        self.hard = hard

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        logits = student.logits, teacher.logits
        return pseudo_label(*logits, target, valid, self.threshold, self.hard)
