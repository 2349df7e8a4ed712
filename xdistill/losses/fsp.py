"""Flow of the solution procedure: relations between consecutive stages of a network."""

from __future__ import annotations

import math
from itertools import pairwise

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.adapted_channels import AdaptedChannels
from xdistill.losses.parts.layers import FeatureMap, hidden_maps
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.shared_axes import on_axes
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss

MAX_POOLS = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


def fsp(
    student: Float[Tensor, "b m n"],
    teacher: Float[Tensor, "b m n"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over rows and entries of (G_s − G_t)², G being the `fsp_matrix` of two stages.

    Yim et al., CVPR 2017, eq. 2, which sums over the entries. The recommended weight of 50 is that
    of public code, which takes the mean; multiply by m·n for the sum.
    """
    keep = row_mask(valid, student)
    gap = zero_rows(student, keep) - zero_rows(teacher, keep)
    return masked_mean(gap.square().mean((1, 2)), keep)


def fsp_matrix(first: FeatureMap, second: FeatureMap) -> Float[Tensor, "b m n"]:
    """G_ij: mean over positions of the product of channel i of one stage and j of a later one.

    Yim et al., CVPR 2017, eq. 1. Where the sizes differ the larger is max-pooled to the smaller, as
    in the paper (a widely copied port takes averages). An axis that one stage lacks is averaged
    away in the other.

    Raises:
        ValueError: sizes differ along more than three axes.
    """
    axes = tuple(letter for letter in first.axes if letter in second.axes)
    one, other = on_axes(first, axes), on_axes(second, axes)
    lengths = [min(a, b) for a, b in zip(one.shape[2:], other.shape[2:], strict=True)]
    one, other = (max_pool_to(x, lengths) for x in (one, other))
    one, other = (x.reshape(*x.shape[:2], math.prod(lengths)) for x in (one, other))
    return one @ other.mT / math.prod(lengths)


def max_pool_to(x: Float[Tensor, "b c *s"], lengths: list[int]) -> Float[Tensor, "b c *r"]:
    """Maxima over parts of each axis; the map itself where nothing changes."""
    if list(x.shape[2:]) == lengths:
        return x
    if len(lengths) not in MAX_POOLS:
        raise ValueError(
            f"fsp pools a stage [b c ...] {list(x.shape)} to {lengths} along at most three axes; "
            "pair stages of one size, or average over an axis first"
        )
    return MAX_POOLS[len(lengths)](x, lengths)


@register_loss("fsp")
class FSP(AdaptedChannels):
    """Relations between consecutive layers of the student follow those of the teacher.

    Everything happens inside one network: no axis is shared across modalities, only the numbers of
    channels must be equal in each pair of layers. Where they are not, `bind` makes an adapter that
    maps the student's channels to the teacher's; the paper compares networks of equal widths only.
    The value is the sum over consecutive layers. Recommended weight: 50. The matrices grow with the
    square of the activations, so normalise a layer whose activations are large.

    Args:
        layers: at least two pairs of hidden layers, from early to late, or None for all in their
            order.
    """

    name = "fsp"
    formula = "Σ_stages mean of (G_s − G_t)², G = F_i F_{i+1}ᵀ/positions"
    paper = "Yim et al., CVPR 2017"
    needs = ("hidden",)
    recommended_weight = 50.0

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        maps = hidden_maps(self.name, self.layers, student, teacher)
        if len(maps) < 2:
            raise ValueError(
                "fsp compares relations between hidden layers and needs at least two of them, "
                f"got {len(maps)}; pass layers=[early, late] or keep more with xd.capture"
            )
        keep = row_mask(valid, student.embedding)
        ours = [self.adapt(place, x, theirs, keep) for place, (x, theirs) in enumerate(maps)]
        total = student.embedding.new_zeros(())
        for (s_1, s_2), (t_1, t_2) in zip(
            pairwise(ours), pairwise([theirs for _, theirs in maps]), strict=True
        ):
            total = total + fsp(fsp_matrix(s_1, s_2), fsp_matrix(t_1, t_2), keep)
        return total

    def adapt(
        self, place: int, x: FeatureMap, teacher: FeatureMap, keep: Bool[Tensor, " b"]
    ) -> FeatureMap:
        """The student's map with the teacher's number of channels."""
        tensor = zero_rows(x.tensor, keep)
        if self.adapters is not None:
            tensor = self.adapters[place](tensor)
        if tensor.shape[1] != teacher.tensor.shape[1]:
            raise ValueError(
                f"fsp needs equal numbers of channels in each pair of hidden layers, got "
                f"{tensor.shape[1]} (student) and {teacher.tensor.shape[1]} (teacher) in pair "
                f"{place}; call loss.bind(student, teacher), which makes adapters"
            )
        return FeatureMap(tensor, x.axes)
