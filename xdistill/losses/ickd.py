"""Inter-channel correlation distillation."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.adapted_channels import AdaptedChannels
from xdistill.losses.parts.layers import Layers
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def ickd(
    student: Float[Tensor, "b c *s"],
    teacher: Float[Tensor, "b c *r"],
    valid: Bool[Tensor, " b"] | None = None,
    official: bool = False,
) -> Float[Tensor, ""]:
    """‖rownorm(F_s F_sᵀ) − rownorm(F_t F_tᵀ)‖²_F / C², mean over rows, F = [C, places].

    Liu et al., ICCV 2021, ICKD-C. Products of the channels are summed over the places of a map, so
    the two maps need equal numbers of channels and nothing else. Rows of the Gram matrix have
    length 1, as in the authors' code: the products grow with the number of places, which may
    differ.

    `official` divides by C, as the authors' code for CIFAR does, not by C² as the paper. Their
    code for ImageNet, which torchdistill has, divides that once more by the size of the batch.
    """
    keep = row_mask(valid, student)
    gap = correlation(zero_rows(student, keep)) - correlation(zero_rows(teacher, keep))
    per_row = gap.square().sum(dim=2).mean(dim=1) if official else gap.square().mean(dim=(1, 2))
    return masked_mean(per_row, keep)


def correlation(x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c c"]:
    """Inner products of the channels, each channel's brought to length 1."""
    x = x.flatten(2) if x.ndim > 2 else x[:, :, None]
    return unit_rows(x @ x.mT)


@register_loss("ickd")
class ICKD(AdaptedChannels):
    """Correlations among the channels of the student's maps follow the teacher's.

    The maps need no shared axis and no equal length: video [B, C, T, H, W] is compared with EEG [B,
    C, T] as it is. Where a pair has different numbers of channels a linear map without bias maps
    the student's to the teacher's. The authors' code has a BatchNorm after it, which would make a
    row depend on the others and is left out. The sum over pairs is returned.

    The weight of 500 belongs to the mean over C² entries. With `official=True` the authors take
    2.5; the two agree at C = 200.

    Args:
        layers: pairs of hidden layers, or None for all in their order.
        official: divide by C instead of C².
    """

    name = "ickd"
    formula = "‖rownorm(F_s F_sᵀ) − rownorm(F_t F_tᵀ)‖²/C²"
    paper = "Liu et al., ICCV 2021"
    needs = ("hidden",)
    recommended_weight = 500.0

    def __init__(self, layers: Layers | None = None, official: bool = False):
        super().__init__(layers)
        self.official = official

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        pairs = self.adapted(student, teacher)
        none = student.embedding.new_zeros(())
        return sum((ickd(*maps, valid, self.official) for maps in pairs), none)
