"""Class attention transfer: where each class is seen."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.class_maps import class_maps
from xdistill.losses.parts.layers import Layers
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts
from xdistill.losses.parts.shared_axes import pool_to
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def catkd(
    student: Float[Tensor, "b k *s"],
    teacher: Float[Tensor, "b k *s"],
    valid: Bool[Tensor, " b"] | None = None,
    resolution: int = 2,
    normalise: bool = True,
) -> Float[Tensor, ""]:
    """Mean over rows, classes and places of (Ã_s − Ã_t)² (Guo et al., CVPR 2023).

    Ã is the class map pooled to `resolution` places along each axis (to all of an axis that has
    fewer) and, of each class, divided by its length. The mean over places is that of the public
    code, to which its weights belong.
    """
    keep = row_mask(valid, student)
    lengths = [min(resolution, length) for length in student.shape[2:]]
    ours, theirs = (pool_to(zero_rows(x, keep), lengths).flatten(2) for x in (student, teacher))
    if normalise:
        ours, theirs = unit_rows(ours), unit_rows(theirs)
    return masked_mean((ours - theirs).square().mean(dim=(1, 2)), keep)


@register_loss("catkd")
class CATKD(Loss):
    """Class activation maps of student and teacher agree, coarsely.

    `at` compares where a network looks, this where it sees each class. It reads maps of class
    scores, from `xd.class_map` on both encoders; of a film and a signal the shared axis is time.
    The public configurations for CIFAR-100 and ImageNet normalise between architectures, with
    weights from 10 to 600, and do not between networks of one family, with weights from 0.5 to 15:
    search for yours.

    Args:
        layers: pairs of hidden layers that hold class maps, or None for all in their order.
        resolution: places along each axis to which the maps are pooled.
        normalise: divide the map of each class by its length.
    """

    name = "catkd"
    formula = "mean of (Ã_s − Ã_t)², Ã the class maps, pooled, each of length 1"
    paper = "Guo et al., CVPR 2023"
    needs = ("hidden",)
    shared_space = False
    recommended_weight = 40.0

    def __init__(self, layers: Layers | None = None, resolution: int = 2, normalise: bool = True):
        super().__init__()
        require_counts(self.name, resolution=resolution)
        self.layers = layers
        self.resolution = resolution
        self.normalise = normalise

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        total = student.embedding.new_zeros(())
        for ours, theirs in class_maps(self.name, self.layers, student, teacher):
            total = total + catkd(ours, theirs, valid, self.resolution, self.normalise)
        return total
