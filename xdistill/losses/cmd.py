"""Central moment discrepancy: the distributions of both embeddings have the same moments."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts
from xdistill.registry import create_projector, register_loss


def cmd(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
    moments: int = 5,
    bounds: tuple[float, float] | None = None,
) -> Float[Tensor, ""]:
    """‖E s − E t‖/|b − a| + Σ_{k≥2} ‖c_k(s) − c_k(t)‖/|b − a|^k, c_k(x) = E (x − E x)^k.

    Zellinger et al., ICLR 2017, definition 2: moments of each column over the rows, up to
    k = `moments`. The columns must lie in [a, b], as those of a sigmoid layer do there.

    Args:
        bounds: (a, b); None takes the sigmoid of both sides first, which lies in (0, 1).
    """
    keep = row_mask(valid, student)
    ours, theirs = (central_moments(unit(x, bounds), keep, moments) for x in (student, teacher))
    return torch.linalg.vector_norm(ours - theirs, dim=1).sum()


def unit(x: Float[Tensor, "b d"], bounds: tuple[float, float] | None) -> Float[Tensor, "b d"]:
    """`x` scaled to [0, 1], which replaces the powers of |b − a| and cannot overflow."""
    return x.sigmoid() if bounds is None else (x - bounds[0]) / (bounds[1] - bounds[0])


def central_moments(
    x: Float[Tensor, "b d"], keep: Bool[Tensor, " b"], moments: int
) -> Float[Tensor, "k d"]:
    """The mean and the central moments 2 to K of each column, over the rows that count."""
    count = keep.sum().clamp(min=1)
    mean = zero_rows(x, keep).sum(dim=0) / count
    centred = zero_rows(x - mean, keep)
    powers = [centred**k for k in range(2, moments + 1)]
    return torch.stack([mean, *(power.sum(dim=0) / count for power in powers)])


@register_loss("cmd")
class CMD(Loss):
    """Match the first moments of both batches, column by column.

    It does not compare pairs: any order of the student's rows gives the same value, so it aligns
    two spaces and teaches nothing about single rows. Combine it with a loss that does. Where widths
    differ, `bind` makes a linear map from the student's to the teacher's and leaves the teacher's
    space as it is: two learnt maps could agree on a constant.

    Args:
        moments: K, the highest moment.
        bounds: (a, b) between which both embeddings lie, as after a tanh or ReLU6. Embeddings have
            none, so the default compares their sigmoids: their scale should be near 1, since at 100
            the gradient vanishes. Rows of length one are bounded too, but their columns are of size
            1/√D, and fifth moments of that are negligible.
    """

    name = "cmd"
    formula = "Σ_k ‖c_k(σ(f_s)) − c_k(σ(f_t))‖, c_1 the mean, c_k central moments, k ≤ 5"
    paper = "Zellinger et al., ICLR 2017"
    unpaired = True

    def __init__(self, moments: int = 5, bounds: tuple[float, float] | None = None):
        super().__init__()
        require_counts(self.name, moments=moments)
        if bounds is not None and not -math.inf < bounds[0] < bounds[1] < math.inf:
            raise ValueError(f"cmd needs bounds (a, b) with a < b, got {bounds}")
        self.moments = moments
        self.bounds = bounds

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        ours, theirs = width(student), width(teacher)
        if self.student_projector is None and ours != theirs:
            linear = create_projector("linear", ours, theirs)
            self.attach(linear, create_projector("identity", theirs, theirs))
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return cmd(student.embedding, teacher.embedding, valid, self.moments, self.bounds)
