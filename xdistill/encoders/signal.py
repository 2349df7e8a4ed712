"""A small temporal CNN for signals sampled in time, and the encoders built on it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.encoders.head import Head, require_positive
from xdistill.modalities import get_modality
from xdistill.registry import register_encoder
from xdistill.types import Outputs


def pool_mean_max(x: Float[Tensor, "b c t"], bins: int = 1) -> Float[Tensor, "b 2*c*{bins}"]:
    """Mean and maximum over time: how much of a feature there is, and its strongest moment.

    Args:
        bins: number of equal parts of the recording, pooled separately and concatenated in order.
    """
    # ONNX has no adaptive pooling over several bins, so its windows are written out.
    steps = x.shape[2]
    parts = [x[:, :, i * steps // bins : -(-(i + 1) * steps // bins)] for i in range(bins)]
    mean = torch.stack([part.mean(dim=2) for part in parts], dim=2).flatten(1)
    highest = torch.stack([part.amax(dim=2) for part in parts], dim=2).flatten(1)
    return torch.cat([mean, highest], dim=1)


def temporal_block(in_channels: int, width: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution over time with an odd kernel, BatchNorm, ReLU: [B, C, T] -> [B, width, T']."""
    return nn.Sequential(
        nn.Conv1d(in_channels, width, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
    )


class SignalEncoder(nn.Module):
    """A wide first convolution, narrow ones that halve the rate, and pooling over time.

    Args:
        modality: name of a modality with axes [B, C, T] or [B, C, T, J].
        num_classes: number of classes K; None for no classifier.
        in_channels: number of channels C.
        joints: number of joints J of a skeleton; the network reads C·J channels.
        dim: width of the embedding.
        widths: channels after the first convolution and after each block.
        first_kernel: length of the first convolution in samples, odd.
        first_stride: stride of the first convolution in samples.
        scale: the input is divided by it; None for a BatchNorm on the input. Unlike
            normalising each sample, both keep how strong a signal is relative to others.
        time_bins: number of equal parts of the recording that are pooled separately. One suits a
            lasting state (a sleep stage), several suit an action whose order matters.
        dropout: before the classifier.
    """

    def __init__(
        self,
        modality: str,
        num_classes: int | None = None,
        in_channels: int = 1,
        *,
        joints: int | None = None,
        dim: int = 128,
        widths: Sequence[int] = (32, 64, 96, 128),
        first_kernel: int = 7,
        first_stride: int = 2,
        scale: float | None = None,
        time_bins: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        require_positive(in_channels=in_channels, joints=joints, dim=dim, time_bins=time_bins)
        self.time_bins = time_bins
        self.modality = modality
        self.kind = get_modality(modality)
        self.dim = dim
        self.in_channels = in_channels
        self.joints = joints
        self.scale = scale
        inputs = in_channels * (joints or 1)
        self.input_norm = nn.BatchNorm1d(inputs) if scale is None else nn.Identity()
        self.stem = temporal_block(inputs, widths[0], first_kernel, first_stride)
        self.blocks = nn.ModuleList(
            temporal_block(narrow, wide, kernel=7, stride=2) for narrow, wide in pairwise(widths)
        )
        self.embed = nn.Linear(2 * widths[-1] * time_bins, dim)
        self.head = Head(dim, num_classes, dropout)
        self.num_classes = num_classes

    def forward(self, x: Float[Tensor, "b c t *j"]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        x = self.input_norm(self._flatten_joints(x) / (self.scale or 1.0))
        x = self.stem(x)
        hidden = {"stem": x}
        for number, block in enumerate(self.blocks, start=1):
            hidden[f"layer{number}"] = x = block(x)
        return self.head(self.embed(pool_mean_max(x, self.time_bins)), hidden)

    def _flatten_joints(self, x: Tensor) -> Float[Tensor, "b c t"]:
        if self.joints is None:
            return x
        if x.shape[-1] != self.joints:
            raise ValueError(
                f"{self.modality}: expected {self.joints} joints on the last axis, got "
                f"{x.shape[-1]} (shape {tuple(x.shape)}); create the encoder with "
                f"joints={x.shape[-1]}"
            )
        return rearrange(x, "b c t j -> b (c j) t")


@register_encoder("inertial_small", modality="inertial")
def inertial_small(
    num_classes: int | None = None, in_channels: int = 6, *, modality: str = "inertial", **options
) -> SignalEncoder:
    """Temporal CNN for accelerometer and gyroscope [B, C, T], about 25 to 200 Hz.

    `options` are those of `SignalEncoder`. A BatchNorm on the input adapts to the units.
    """
    options = {"time_bins": 4, **options}
    return SignalEncoder(modality, num_classes, in_channels, **options)


@register_encoder("skeleton_small", modality="skeleton")
def skeleton_small(
    num_classes: int | None = None,
    in_channels: int = 3,
    *,
    modality: str = "skeleton",
    joints: int = 25,
    **options,
) -> SignalEncoder:
    """Temporal CNN for joint positions [B, C, T, J], with joints and coordinates as channels.

    `options` are those of `SignalEncoder`; Kinect v2 has 25 joints.
    """
    options = {"first_stride": 1, "time_bins": 4, **options}
    return SignalEncoder(modality, num_classes, in_channels, joints=joints, **options)
