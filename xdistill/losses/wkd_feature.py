"""Wasserstein distance of the Gaussians that features form over their positions."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.adapted_channels import AdaptedChannels
from xdistill.losses.parts.layers import Layers
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_not_negative
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss

FLOOR = 1e-5
"""Added to every variance, as in the public code: the root has a finite gradient at 0."""


def wkd_feature(
    student: Float[Tensor, "b c ..."],
    teacher: Float[Tensor, "b c ..."],
    valid: Bool[Tensor, " b"] | None = None,
    ratio: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean over rows of r·‖μ_s − μ_t‖² + ‖σ_s − σ_t‖² (Lv et al., NeurIPS 2024).

    μ and σ are mean and standard deviation of each channel over all positions of a row, σ with
    Bessel's correction where there are two or more. With r = 1 it is the squared 2-Wasserstein
    distance of two Gaussians of diagonal covariance. The maps may have different positions.
    """
    keep = row_mask(valid, student)
    (mean_s, spread_s), (mean_t, spread_t) = (
        moments(zero_rows(x, keep)) for x in (student, teacher)
    )
    shift = (mean_s - mean_t).square().sum(dim=1)
    return masked_mean(ratio * shift + (spread_s - spread_t).square().sum(dim=1), keep)


def moments(x: Float[Tensor, "b c ..."]) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
    """Mean and standard deviation of each channel over its positions."""
    flat = x.flatten(2) if x.ndim > 2 else x[:, :, None]
    mean = flat.mean(dim=2)
    squares = (flat - mean[:, :, None]).square().sum(dim=2)
    return mean, (squares / max(1, flat.shape[2] - 1) + FLOOR).sqrt()


@register_loss("wkd_feature")
class WKDFeature(AdaptedChannels):
    """Where and how widely each channel is active, not at which position.

    It needs no shared axis: an EEG's map over time and a film's over time and space are compared
    by their channels' means and spreads. Where the numbers of channels differ, the student's are
    mapped linearly (made in `bind`). The value is the sum over pairs of layers. The public code
    cuts maps into a grid on request, and its weights (0.01 to 20) belong to single pairs of
    networks: search for yours.

    Args:
        layers: pairs of hidden layers, or None for all in their order.
        ratio: r, the weight of the means beside that of the spreads.
    """

    name = "wkd_feature"
    formula = "r·‖μ_s − μ_t‖² + ‖σ_s − σ_t‖² over the positions of each channel"
    paper = "Lv et al., NeurIPS 2024"
    needs = ("hidden",)

    def __init__(self, layers: Layers | None = None, ratio: float = 1.0):
        super().__init__(layers)
        require_not_negative(self.name, ratio=ratio)
        self.ratio = ratio

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        pairs = self.adapted(student, teacher)
        none = student.embedding.new_zeros(())
        return sum((wkd_feature(*maps, valid, self.ratio) for maps in pairs), none)
