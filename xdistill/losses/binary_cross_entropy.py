"""Cross-entropy of each class separately, for rows that may have several classes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.loss import Loss
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def binary_cross_entropy(
    logits: Float[Tensor, "b k"], target: Int64[Tensor, "b ..."]
) -> Float[Tensor, ""]:
    """Mean of −log σ(±logit) over the known entries of target [B, K]; 0 when there is none.

    1 means that the row has the class, 0 that it does not, -1 that this is unknown. In a target [B]
    the row's class counts as 1 and the others as 0; rows of -1 are left out.
    """
    if target.ndim == 1:
        of_row = target[:, None]
        one_hot = of_row == torch.arange(logits.shape[1], device=target.device)
        target = one_hot.long().masked_fill(of_row < 0, -1)
    known = target >= 0
    each = F.binary_cross_entropy_with_logits(
        logits, target.clamp(min=0).to(logits.dtype), reduction="none"
    )
    return masked_mean(each.flatten(), known.flatten())


@register_loss("binary_cross_entropy")
class BinaryCrossEntropy(Loss):
    """The student's task loss where a row may have several classes. It ignores the teacher."""

    name = "binary_cross_entropy"
    formula = "−log σ(z_k) of the row's classes, −log σ(−z_k) of the others"
    needs = ("logits", "labels")
    shared_space = False
    reads_teacher = False
    multi_label = True

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student)
        return binary_cross_entropy(student.logits, require_target(self.name, target))
