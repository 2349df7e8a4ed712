"""Cross-entropy on the labelled rows."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import zero_rows
from xdistill.losses.parts.options import require_share
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def cross_entropy(
    logits: Float[Tensor, "b k"], target: Int64[Tensor, " b"], label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Mean of −log p(target) over the rows whose target is not -1; 0 when there is none."""
    total = F.cross_entropy(
        logits, target, ignore_index=-1, reduction="sum", label_smoothing=label_smoothing
    )
    return total / (target >= 0).sum().clamp(min=1)


def soft_cross_entropy(
    logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"], label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Mean of −Σ_k target_k·log p_k over the rows whose target is not NaN; 0 when there is none."""
    known = ~target.isnan().any(dim=1)
    labels = zero_rows(target, known).to(logits.dtype)
    each = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
    return masked_mean(each, known)


@register_loss("cross_entropy")
class CrossEntropy(Loss):
    """The student's task loss. It ignores the teacher and `valid`.

    A float target [B, K] holds soft labels, probabilities of the classes.
    """

    name = "cross_entropy"
    formula = "−log p_s(y)"
    needs = ("logits", "labels")
    shared_space = False
    per_position = True
    task = True
    reads = ("class", "soft")

    def __init__(self, label_smoothing: float = 0.0):
        super().__init__()
        require_share(self.name, label_smoothing=label_smoothing)
        self.label_smoothing = label_smoothing

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student)
        target = require_target(self.name, target)
        if target.is_floating_point():
            return soft_cross_entropy(student.logits, target, self.label_smoothing)
        return cross_entropy(student.logits, target, self.label_smoothing)
