"""Attention transfer: the student looks where the teacher looks."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.layers import FeatureMap, Layers, hidden_maps
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_positive
from xdistill.losses.parts.shared_axes import align
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def at(
    student: Float[Tensor, "b c *s"],
    teacher: Float[Tensor, "b e *s"],
    valid: Bool[Tensor, " b"] | None = None,
    p: float = 2.0,
    squared: bool = True,
) -> Float[Tensor, ""]:
    """Mean over rows of ‖Q_s/‖Q_s‖ − Q_t/‖Q_t‖‖² / N, Q being `attention_map` and N its positions.

    Zagoruyko and Komodakis, ICLR 2017, eq. 2. The division by N is theirs too: the paper gives the
    weight as 1000 divided by N (section 4.1), so 1000 is the weight of this mean. Eq. 2 writes ½
    and the norm without a square, while the authors' code, which its numbers come from, squares it
    and drops the ½. The square is the default here: the gradient of the plain norm does not shrink
    as the maps approach each other.

    Args:
        p: exponent of the attention map.
        squared: False computes eq. 2 literally, ‖…‖/N.
    """
    keep = row_mask(valid, student)
    ours = attention_map(zero_rows(student, keep), p)
    theirs = attention_map(zero_rows(teacher, keep), p)
    return attention_gap(ours, theirs, keep, squared)


def attention_map(x: Float[Tensor, "b c *s"], p: float = 2.0) -> Float[Tensor, "b 1 *s"]:
    """Mean over the channels of |x|^p, up to a factor for each row, which normalising removes.

    The factor is the row's largest number. Without it the squares of small activations would
    underflow to a map of zeros.
    """
    magnitude = x.abs()
    largest = magnitude.detach().flatten(1).amax(1).view(-1, *[1] * (x.ndim - 1))
    scale = torch.where(largest > 1e-8, largest, torch.ones_like(largest))
    return (magnitude / scale).pow(p).mean(dim=1, keepdim=True)


def attention_gap(
    student: Float[Tensor, "b 1 *s"],
    teacher: Float[Tensor, "b 1 *s"],
    keep: Bool[Tensor, " b"],
    squared: bool = True,
) -> Float[Tensor, ""]:
    """Mean over rows of ‖Q_s/‖Q_s‖ − Q_t/‖Q_t‖‖² / N, or of the norm without the square."""
    ours, theirs = (zero_rows(x, keep).flatten(1) for x in (student, teacher))
    gap = unit_rows(ours) - unit_rows(theirs)  # [B, N]
    distance = gap.square().mean(1) if squared else torch.linalg.vector_norm(gap, dim=1)
    return masked_mean(distance if squared else distance / gap.shape[1], keep)


@register_loss("at")
class AT(Loss):
    """The student's attention maps resemble the teacher's; channels may differ.

    The channels of each map are averaged away first, then both maps are brought onto the axes that
    they share (time, for a video and a signal) and normalised. A map of a single position leaves
    nothing to compare: normalised, it is 1 on both sides. The value is the sum over pairs of
    layers, as in eq. 2. Recommended weight: 1000.

    Args:
        layers: pairs of hidden layers, or None for all in their order.
        p: exponent of |f|^p; a higher one emphasises the strongest activations.
        squared: square the distance of the maps (see `at`).
    """

    name = "at"
    formula = "‖norm(mean_c f_s²) − norm(mean_c f_t²)‖²/N"
    paper = "Zagoruyko and Komodakis, ICLR 2017"
    needs = ("hidden",)
    shared_space = False
    recommended_weight = 1000.0

    def __init__(self, layers: Layers | None = None, p: float = 2.0, squared: bool = True):
        super().__init__()
        if p < 1:
            raise ValueError(
                f"at: p must be at least 1, got {p}; below 1 the gradient at 0 is not finite"
            )
        self.layers = layers
        require_positive(self.name, p=p)
        self.p = p
        self.squared = squared

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        keep = row_mask(valid, student.embedding)
        total = student.embedding.new_zeros(())
        for pair in hidden_maps(self.name, self.layers, student, teacher):
            ours, theirs = (
                FeatureMap(attention_map(zero_rows(x.tensor, keep), self.p), x.axes) for x in pair
            )
            total = total + attention_gap(*align(self.name, ours, theirs), keep, self.squared)
        return total
