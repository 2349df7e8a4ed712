"""Knowledge review: attention-based fusion of stages and the hierarchical context loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from xdistill.losses.parts.layers import (
    FeatureMap,
    Layers,
    channel_counts,
    hidden_maps,
    hidden_shapes,
)
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts
from xdistill.losses.parts.shared_axes import ChannelAdapter, align, pool_to, shared_axes
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss
from xdistill.types import Outputs, Spec

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MOST_CHANNELS = 512
"""Fused features have as many channels as the deepest stage of the student, or this many."""


def hcl(
    student: Float[Tensor, "b c *s"],
    teacher: Float[Tensor, "b c *s"],
    valid: Bool[Tensor, " b"] | None = None,
    pools: Sequence[int] = (4, 2, 1),
) -> Float[Tensor, ""]:
    """The hierarchical context loss: squared distance of two maps, and of their pooled versions.

    Chen et al., CVPR 2021, section 3.3. The map itself has weight 1, and each pooled version half
    of the one before; the weights are divided by their sum, as in the authors' code. A pooling that
    changes no axis is left out; an axis shorter than it stays as it is.

    Args:
        student: [B, C, ...] with one to three axes after the channels.
        teacher: the same shape.
        valid: rows that count.
        pools: lengths of each axis after pooling.
    """
    keep = row_mask(valid, student)
    # Pooling is linear: that of the difference is the difference of both poolings.
    gap = zero_rows(student, keep) - zero_rows(teacher, keep)
    lengths = list(gap.shape[2:])
    scales = [[min(pool, length) for length in lengths] for pool in pools]
    gaps = [gap, *(pool_to(gap, scale) for scale in scales if scale != lengths)]
    weights = [0.5**level for level in range(len(gaps))]
    total = sum(
        weight * masked_mean(one.square().flatten(1).mean(dim=1), keep)
        for weight, one in zip(weights, gaps, strict=True)
    )
    return total / sum(weights)  # type: ignore[return-value]


class Fusion(nn.Module):
    """Attention-based fusion of a stage with the features of the deeper stages.

    Args:
        in_channels: channels of the student's stage.
        mid_channels: channels of the fused features.
        out_channels: channels of the teacher's stage.
        axes: number of axes after the channels.
        deepest: there is no deeper stage.
    """

    def __init__(
        self, in_channels: int, mid_channels: int, out_channels: int, axes: int, deepest: bool
    ):
        super().__init__()
        self.narrow = ChannelAdapter(in_channels, mid_channels, bias=True)
        self.attention = None if deepest else ChannelAdapter(2 * mid_channels, 2, bias=True)
        self.widen = CONVOLUTIONS[axes](mid_channels, out_channels, kernel_size=3, padding=1)

    def forward(
        self, x: Float[Tensor, "b c *s"], deeper: Float[Tensor, "b m *r"] | None
    ) -> tuple[Float[Tensor, "b e *s"], Float[Tensor, "b m *s"]]:
        """The map to compare with the teacher's stage, and features for the next shallower one."""
        x = self.narrow(x)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, size=x.shape[2:], mode="nearest")
            share = torch.sigmoid(self.attention(torch.cat([x, deeper], dim=1)))  # [B, 2, ...]
            x = x * share[:, :1] + deeper * share[:, 1:]
        return self.widen(x), x


@register_loss("reviewkd")
class ReviewKD(Loss):
    """Deeper stages of the student are fused into its shallower ones, which meet the teacher's.

    Chen et al., CVPR 2021. Each stage of the student is first brought onto the axes that it shares
    with its stage of the teacher, and the longer of the two is pooled to the shorter; so fusion and
    comparison run over those axes only (time, between video and EEG), and all pairs must share the
    same axes. From the deepest stage to the first, a stage is narrowed to common channels, weighed
    against the upsampled deeper ones, widened to the teacher's channels by a convolution over 3
    places, and compared by `hcl`. The sum over stages is returned.

    The authors have a BatchNorm after both convolutions. Rows without a teacher would enter its
    statistics, so there is none here and the convolutions have a bias instead. Where the teacher's
    map is longer than the student's, the authors stretch the student's; here the teacher's is
    pooled.

    Recommended: weight 1 beside a cross-entropy of 1, grown over 20 epochs by `xd.warmup`.

    Args:
        layers: pairs of hidden layers from the first to the deepest, or None for all in their
            order.
        mid_channels: channels of the fused features; None takes those of the student's deepest
            stage, at most 512.
        pools: lengths after the poolings of `hcl`.

    Raises:
        ValueError: `pools` or `mid_channels` holds a number under 1.
    """

    name = "reviewkd"
    formula = "Σ over stages of HCL(ABF(f_s), f_t)"
    paper = "Chen et al., CVPR 2021"
    needs = ("hidden",)
    shared_space = False
    recommended_warmup_epochs = 20

    def __init__(
        self,
        layers: Layers | None = None,
        mid_channels: int | None = None,
        pools: Sequence[int] = (4, 2, 1),
    ):
        super().__init__()
        pooled = {f"pools[{place}]": size for place, size in enumerate(pools)}
        require_counts(self.name, mid_channels=mid_channels, **pooled)
        self.layers = layers
        self.mid_channels = mid_channels
        self.pools = tuple(pools)
        self.fusions: nn.ModuleList | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.fusions is None:
            channels = channel_counts("reviewkd", self.layers, student, teacher)
            maps = hidden_maps("reviewkd", self.layers, blank(student), blank(teacher))
            axes = one_set_of_axes(maps)
            mid = self.mid_channels or min(MOST_CHANNELS, channels[-1][0])
            self.fusions = nn.ModuleList(
                Fusion(ours, mid, theirs, len(axes), deepest=stage == len(channels) - 1)
                for stage, (ours, theirs) in enumerate(channels)
            )
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        maps = hidden_maps("reviewkd", self.layers, student, teacher)
        if self.fusions is None:
            raise ValueError("reviewkd has no fusion modules yet; call loss.bind(student, teacher)")
        value, deeper = student.embedding.new_zeros(()), None
        for fusion, pair in reversed(list(zip(self.fusions, maps, strict=True))):
            ours, theirs = align("reviewkd", *pair)
            fused, deeper = fusion(ours, deeper)
            value = value + hcl(fused, theirs, valid, self.pools)
        return value


def blank(spec: Spec | Outputs | Any) -> Outputs:
    """Outputs of a spec's shapes on the meta device, without values."""
    shapes = hidden_shapes(spec)
    return Outputs(
        torch.empty(1, width(spec), device="meta"),
        hidden={name: torch.empty(1, *shape, device="meta") for name, shape in shapes.items()},
    )


def one_set_of_axes(maps: Sequence[tuple[FeatureMap, FeatureMap]]) -> tuple[str, ...]:
    """The axes that every pair shares.

    Raises:
        ValueError: they differ between pairs, or a pair shares none.
    """
    axes = [shared_axes("reviewkd", ours, theirs) for ours, theirs in maps]
    if len(set(axes)) > 1:
        raise ValueError(
            f"reviewkd fuses stages over one set of axes, but the pairs share {axes}; pair other "
            "layers, or name their axes with LayerPair(..., student_axes=, teacher_axes=)"
        )
    return axes[0]
