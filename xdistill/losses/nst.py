"""Neuron selectivity transfer: the student's channels activate where the teacher's do."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.layers import Layers, hidden_maps
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.shared_axes import align
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def nst(
    student: Float[Tensor, "b c *s"],
    teacher: Float[Tensor, "b e *s"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over rows of the squared MMD between the channels of both maps.

    Huang and Wang, 2017, section 4, with the polynomial kernel k(x, y) = (xᵀy)² (d = 2, c = 0).
    A channel is the vector of its activations over all positions, divided by its length; the
    numbers of channels may differ.
    """
    keep = row_mask(valid, student)
    ours, theirs = (unit_rows(zero_rows(x, keep).flatten(2)) for x in (student, teacher))
    discrepancy = (
        mean_kernel(ours, ours) - 2 * mean_kernel(ours, theirs) + mean_kernel(theirs, theirs)
    )
    return masked_mean(discrepancy, keep)


def mean_kernel(x: Float[Tensor, "b c p"], y: Float[Tensor, "b e p"]) -> Float[Tensor, " b"]:
    """Mean over all pairs of channels of (x_iᵀy_j)².

    With fewer positions than channels it is ⟨XᵀX, YᵀY⟩/CE, which needs P×P numbers, not C×E.
    """
    channels, others, positions = x.shape[1], y.shape[1], x.shape[2]
    if positions < min(channels, others):
        return ((x.mT @ x / channels) * (y.mT @ y / others)).sum((1, 2))
    return (x @ y.mT).square().mean((1, 2))


@register_loss("nst")
class NST(Loss):
    """Match the distribution of the channels' activation patterns to the teacher's.

    Maps of different sizes are brought onto their shared axes first. The value is the sum over
    pairs of layers. The paper's weight is 50/2; the recommended 50 is the weight of public code.

    Args:
        layers: pairs of hidden layers, or None for all in their order.
    """

    name = "nst"
    formula = "MMD² of the channels' unit maps, k(x, y) = (xᵀy)²"
    paper = "Huang and Wang, 2017"
    needs = ("hidden",)
    shared_space = False
    recommended_weight = 50.0

    def __init__(self, layers: Layers | None = None):
        super().__init__()
        self.layers = layers

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        total = student.embedding.new_zeros(())
        for pair in hidden_maps(self.name, self.layers, student, teacher):
            total = total + nst(*align(self.name, *pair), valid)
        return total
