"""Probabilistic knowledge transfer: probabilities of being neighbours in the batch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.pairs import distinct_pairs
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def pkt(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    valid: Bool[Tensor, " b"] | None = None,
    eps: float = 1e-7,
) -> Float[Tensor, ""]:
    """Mean over i of KL(p_i ‖ q_i), p_j|i ∝ K(t_i, t_j), q_j|i ∝ K(s_i, s_j), j ≠ i.

    Passalis and Tefas, ECCV 2018, with the cosine kernel K = (cos + 1)/2; they sum over i. A single
    row has no neighbour and counts 0; of two rows each has one neighbour, with probability 1. The
    widths may differ.

    Args:
        eps: added to K, so that no neighbour has probability 0.
    """
    keep = row_mask(valid, student)
    pairs = distinct_pairs(keep)
    q = neighbours(cosine_kernel(student, keep) + eps, pairs)
    p = neighbours(cosine_kernel(teacher, keep) + eps, pairs)
    ratio = torch.where(pairs, p, 1.0) / torch.where(pairs, q, 1.0)
    return masked_mean((p * ratio.log()).sum(dim=1), keep)


def pkt_official(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    valid: Bool[Tensor, " b"] | None = None,
    eps: float = 1e-7,
) -> Float[Tensor, ""]:
    """The published code: a row is its own neighbour too, and the mean is over all B² pairs."""
    keep = row_mask(valid, student)
    pairs = keep[:, None] & keep[None, :]
    q = neighbours(cosine_kernel(student, keep), pairs)
    p = neighbours(cosine_kernel(teacher, keep), pairs)
    return masked_mean(p * ((p + eps) / (q + eps)).log(), pairs)


def cosine_kernel(x: Float[Tensor, "b d"], keep: Bool[Tensor, " b"]) -> Float[Tensor, "b b"]:
    """(cos + 1)/2 among the rows that count, never below 0; ½ for a row of zeros."""
    unit = unit_rows(zero_rows(x, keep))
    return ((unit @ unit.T + 1) / 2).clamp(min=0)


def neighbours(kernel: Float[Tensor, "b b"], pairs: Bool[Tensor, "b b"]) -> Float[Tensor, "b b"]:
    """Each row's kernel as probabilities of its pairs; zeros in a row without any."""
    kept = torch.where(pairs, kernel, 0.0)
    total = kept.sum(dim=1, keepdim=True)
    return kept / torch.where(total > 0, total, 1.0)


@register_loss("pkt")
class PKT(Loss):
    """The student's neighbour probabilities follow the teacher's; widths may differ.

    The weight in the literature, 30000, belongs to the published code, which counts each row among
    its own neighbours, contrary to the paper, and averages over all B² pairs instead of summing
    over neighbours: at its batch size of 64 that is 30000/64 of this loss, the recommended weight.

    Args:
        official: use the form of the published code, whose weight is 30000 and whose value falls as
            B grows.
    """

    name = "pkt"
    formula = "mean over i of KL(p_i ‖ q_i), p_j|i ∝ (cos(f_i, f_j) + 1)/2, j ≠ i"
    paper = "Passalis and Tefas, ECCV 2018"
    shared_space = False
    recommended_weight = 30000 / 64

    def __init__(self, official: bool = False):
        super().__init__()
        self.official = official

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        function = pkt_official if self.official else pkt
        return function(student.embedding, teacher.embedding, valid)
