"""Cross-entropy on the labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import zero_rows
from xdistill.losses.parts.options import require_not_negative, require_share
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss

if TYPE_CHECKING:
    from xdistill.data.paired import PairedDataset


def cross_entropy(
    logits: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    label_smoothing: float = 0.0,
    weight: Float[Tensor, " k"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of −log p(target) over the rows whose target is not -1; 0 when there is none.

    With a weight for each class it is the weighted mean, by the weights of the rows' classes.
    """
    total = F.cross_entropy(
        logits, target, weight, ignore_index=-1, reduction="sum", label_smoothing=label_smoothing
    )
    known = target >= 0
    if weight is None:
        return total / known.sum().clamp(min=1)
    of_rows = torch.where(known, weight[target.clamp(min=0)], 0.0).sum()
    return _ratio(total, of_rows)


def soft_cross_entropy(
    logits: Float[Tensor, "b k"],
    target: Float[Tensor, "b k"],
    label_smoothing: float = 0.0,
    weight: Float[Tensor, " k"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of −Σ_k target_k·log p_k over the rows whose target is not NaN; 0 when there is none."""
    known = ~target.isnan().any(dim=1)
    labels = zero_rows(target, known).to(logits.dtype)
    each = F.cross_entropy(
        logits, labels, weight, reduction="none", label_smoothing=label_smoothing
    )
    if weight is None:
        return masked_mean(each, known)
    of_rows = (labels * weight).sum()
    return _ratio(torch.where(known, each, 0.0).sum(), of_rows)


def _ratio(total: Float[Tensor, ""], weights: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The weighted mean; 0, with a gradient of 0, where nothing has a weight."""
    return torch.where(weights > 0, total, 0 * total) / torch.where(weights > 0, weights, 1.0)


def balanced_weights(target: Int64[Tensor, " n"], classes: int) -> tuple[float, ...]:
    """n / (K·n_k) for each class k, 0 for one without a row: all classes weigh the same in sum.

    Args:
        target: class indices of the training rows, -1 where unlabelled.
        classes: K.

    Raises:
        ValueError: no row is labelled, or the target is not one class a row.
    """
    if target.ndim != 1 or target.is_floating_point() or not bool((target >= 0).any()):
        raise ValueError(
            "balanced weights need the classes of labelled rows, int64 [N], got "
            f"{target.dtype} {list(target.shape)} with {int((target >= 0).sum())} labelled"
        )
    counts = torch.bincount(target[target >= 0], minlength=classes).double()
    weights = counts.sum() / (len(counts) * counts)
    return tuple(torch.where(counts > 0, weights, 0.0).tolist())


@register_loss("cross_entropy")
class CrossEntropy(Loss):
    """The student's task loss. It ignores the teacher and `valid`.

    A float target [B, K] holds soft labels, probabilities of the classes.

    Args:
        label_smoothing: share of a label that is spread over all classes.
        weight: [K] weight of each class; `CrossEntropy.balanced(train)` takes those that make up
            for rare classes.
    """

    name = "cross_entropy"
    formula = "−log p_s(y)"
    needs = ("logits", "labels")
    shared_space = False
    per_position = True
    task = True
    reads = ("class", "soft")
    class_weights: Tensor | None

    def __init__(
        self, label_smoothing: float = 0.0, weight: Sequence[float] | Tensor | None = None
    ):
        super().__init__()
        require_share(self.name, label_smoothing=label_smoothing)
        self.label_smoothing = label_smoothing
        if isinstance(weight, str):
            raise ValueError(
                f"{self.name}: weight={weight!r} would need the training labels; use "
                "CrossEntropy.balanced(train)"
            )
        self.weight = None if weight is None else tuple(map(float, weight))
        require_not_negative(
            self.name, **{f"weight[{k}]": w for k, w in enumerate(self.weight or ())}
        )
        kept = None if self.weight is None else torch.tensor(self.weight)
        self.register_buffer("class_weights", kept, persistent=False)

    @classmethod
    def balanced(cls, train: PairedDataset, label_smoothing: float = 0.0) -> CrossEntropy:
        """With weights by which all classes of the training rows count the same."""
        return cls(label_smoothing, balanced_weights(train.target, len(train.classes)))

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student)
        target = require_target(self.name, target)
        weight = self.class_weights
        if weight is not None:
            if len(weight) != student.logits.shape[1]:
                raise ValueError(
                    f"{self.name} has weights of {len(weight)} classes, the student "
                    f"{student.logits.shape[1]} logits; give one weight for each class"
                )
            weight = weight.to(student.logits)
        value = soft_cross_entropy if target.is_floating_point() else cross_entropy
        return value(student.logits, target, self.label_smoothing, weight)
