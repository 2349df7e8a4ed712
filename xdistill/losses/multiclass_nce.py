"""Noise-contrastive estimation with class labels, the contrast of CCL."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.losses.loss import Loss
from xdistill.losses.masking import masked_mean, row_mask, zero_rows
from xdistill.losses.pairs import EXCLUDED, label_pairs, mean_over_keys
from xdistill.losses.unit_rows import unit_rows
from xdistill.registry import register_loss


def multiclass_nce(
    anchor: Float[Tensor, "b d"],
    key: Float[Tensor, "b d"],
    target: Int64[Tensor, " b"] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    tau: float = 0.5,
) -> Float[Tensor, ""]:
    """Mean over anchors of: mean over positives of −log p + mean over negatives of −log(1 − p).

    p_ij = softmax_j(cos(anchor_i, key_j) / tau) (Chen et al., "Distilling audio-visual knowledge by
    compositional contrastive learning", CVPR 2021). Which keys are positive, negative,
    or left out because a label is missing: `pairs.label_pairs`. An anchor without a negative, as in
    a batch of one class, has the first part alone.
    """
    keep = row_mask(valid, anchor)
    pairs = label_pairs(keep, target)
    cosine = unit_rows(zero_rows(anchor, keep)) @ unit_rows(zero_rows(key, keep)).T  # [B, B]
    scores = (cosine / tau).masked_fill(~pairs.candidate, EXCLUDED)
    attract = mean_over_keys(-scores.log_softmax(dim=1), pairs.positive)
    repel = mean_over_keys(-log_complement(scores), pairs.negative)
    return masked_mean(attract + repel, keep)


def log_complement(scores: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    """log(1 − softmax(scores)) along rows, exact where a probability rounds to 1.

    Only the largest probability of a row can exceed ½. Its complement is the sum of the others;
    for all others log1p is exact.
    """
    total = scores.logsumexp(dim=1, keepdim=True)
    largest = scores.argmax(dim=1, keepdim=True)
    is_largest = torch.arange(scores.shape[1], device=scores.device) == largest  # [B, K]
    others = scores.masked_fill(is_largest, EXCLUDED).logsumexp(dim=1, keepdim=True)
    # The largest gets a stand-in before log1p, whose derivative would be infinite there; the clamp
    # does the same for a row without candidates and touches nothing else (the others are <= 1/2).
    small = torch.where(is_largest, torch.full_like(scores, -1.0), scores - total).clamp(max=-0.5)
    return torch.where(is_largest, others - total, torch.log1p(-small.exp()))


def symmetric_nce(
    first: Float[Tensor, "b d"],
    second: Float[Tensor, "b d"],
    target: Int64[Tensor, " b"] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    tau: float = 0.5,
) -> Float[Tensor, ""]:
    """The sum of `multiclass_nce` in both directions, as CCL adds them."""
    forth = multiclass_nce(first, second, target, valid, tau)
    return forth + multiclass_nce(second, first, target, valid, tau)


@register_loss("multiclass_nce")
class MultiClassNCE(Loss):
    """Contrast of student and teacher embeddings by class, by pair where there is no label.

    Args:
        tau: temperature of the cosines.
        symmetric: add the direction whose anchors are the teacher's rows.
        dim: width of the shared space; makes projectors in `bind`.
    """

    name = "multiclass_nce"
    formula = "mean over positives of −log p + mean over negatives of −log(1−p)"
    paper = "Chen et al., CVPR 2021"
    uses = ("labels",)

    def __init__(self, tau: float = 0.5, symmetric: bool = False, dim: int | None = None):
        super().__init__()
        self.tau = tau
        self.symmetric = symmetric
        self.dim = dim

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        nce = symmetric_nce if self.symmetric else multiclass_nce
        return nce(student.embedding, teacher.embedding, target, valid, self.tau)
