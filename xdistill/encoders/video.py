"""Encoders for video and depth [B, C, T, H, W]."""

from __future__ import annotations

import os

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.encoders.head import Head, require_positive
from xdistill.encoders.input_channels import with_input_channels
from xdistill.encoders.pretrained import load_pretrained
from xdistill.extras import import_extra
from xdistill.modalities import get_modality
from xdistill.registry import register_encoder
from xdistill.types import Outputs

MOTION_GAIN = 10.0


def normalise_clip(x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
    """Each clip with mean 0 and standard deviation 1 over all its pixels, channels and frames.

    Removes exposure and, for depth, the distance to the camera. A constant clip becomes 0.
    """
    axes = (1, 2, 3, 4)
    centred = x - x.mean(dim=axes, keepdim=True)
    return centred / centred.square().mean(dim=axes, keepdim=True).sqrt().clamp(min=1e-4)


def add_motion(x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 2*c t h w"]:
    """Append each frame's difference from the clip's mean frame, amplified and compressed.

    Breathing moves an edge by less than a pixel, one or two hundredths of the clip's contrast:
    asinh(10·difference) lifts that to the scale of the picture while it keeps the order of
    amplitudes and bounds the large movements.
    """
    difference = x - x.mean(dim=2, keepdim=True)
    return torch.cat([x, torch.asinh(MOTION_GAIN * difference)], dim=1)


def pool_mean_std(x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 2*c"]:
    """Mean over space, then mean and standard deviation over time: what is there, how it moves."""
    return mean_and_std(x.mean(dim=(3, 4)))


def mean_and_std(series: Float[Tensor, "b c t"]) -> Float[Tensor, "b 2*c"]:
    """Mean and standard deviation over time, side by side."""
    std = (series.var(dim=2, correction=0) + 1e-5).sqrt()
    return torch.cat([series.mean(dim=2), std], dim=1)


class SpaceTimeBlock(nn.Module):
    """A (2+1)D convolution: one in space that shrinks the picture, then one over five frames.

    Factorised as in Tran et al., "A Closer Look at Spatiotemporal Convolutions", 2018, section 3.5.
    Both parts run as 2-D convolutions, over all frames and over (time, pixels): several times
    faster on a CPU than a 3-D one. With the memory format channels_last_3d neither needs a copy.
    """

    def __init__(
        self, in_channels: int, width: int, kernel: int = 3, stride: int = 2, time_stride: int = 1
    ):
        super().__init__()
        self.space = nn.Conv2d(in_channels, width, kernel, stride, kernel // 2, bias=False)
        self.space_norm = nn.BatchNorm2d(width)
        self.time = nn.Conv2d(width, width, (5, 1), (time_stride, 1), padding=(2, 0), bias=False)
        self.time_norm = nn.BatchNorm2d(width)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d u i j"]:
        frames = rearrange(x, "b c t h w -> (b t) c h w")
        frames = self.space_norm(self.space(frames)).relu_()
        # by the length of a clip: a number of rows would be fixed in an exported network
        series = rearrange(frames, "(b t) c h w -> b c t (h w)", t=x.shape[2])
        series = self.time_norm(self.time(series)).relu_()
        return rearrange(series, "b c t (h w) -> b c t h w", h=frames.shape[2])


@register_encoder("video_small", modality="video")
class VideoSmall(nn.Module):
    """Four (2+1)D blocks for clips from about 8x32x32 to 32x64x64, trainable on a CPU.

    Each clip is normalised (`normalise_clip`) and its motion is added as further channels
    (`add_motion`). The first three blocks keep the frame rate, so that half a minute at one frame
    per second still resolves breathing; pooling keeps the standard deviation over time.

    Args:
        num_classes: number of classes K; None for no classifier.
        in_channels: number of channels C: 3 for RGB, 1 for infrared and depth.
        modality: "video" or "depth".
        dim: width of the embedding.
        widths: channels after each of the four blocks.
        dropout: before the classifier.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        in_channels: int = 3,
        *,
        modality: str = "video",
        dim: int = 128,
        widths: tuple[int, int, int, int] = (16, 32, 64, 96),
        dropout: float = 0.0,
    ):
        super().__init__()
        require_positive(in_channels=in_channels, dim=dim)
        self.modality = modality
        self.kind = get_modality(modality)
        self.dim = dim
        self.in_channels = in_channels
        first, second, third, last = widths
        self.blocks = nn.ModuleList(
            [
                SpaceTimeBlock(2 * in_channels, first, kernel=5, stride=3),
                SpaceTimeBlock(first, second),
                SpaceTimeBlock(second, third),
                SpaceTimeBlock(third, last, time_stride=2),
            ]
        )
        self.embed = nn.Linear(2 * last, dim)
        self.head = Head(dim, num_classes, dropout)
        self.num_classes = num_classes

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        x = add_motion(normalise_clip(x)).contiguous(memory_format=torch.channels_last_3d)
        hidden = {}
        for number, block in enumerate(self.blocks, start=1):
            hidden[f"layer{number}"] = x = block(x)
        return self.head(self.embed(pool_mean_std(x)), hidden)


@register_encoder("r2plus1d_18", modality="video")
class R2Plus1D18(nn.Module):
    """torchvision's R(2+1)D-18, pooled to 512 features (Tran et al., 2018, table 1).

    Parameters are named as in torchvision, except the classifier's, so that its files load.

    Args:
        num_classes: number of classes K; None for no classifier.
        in_channels: number of channels C: 3 for RGB, 1 for infrared and depth.
        modality: "video" or "depth".
        weights: file with pretrained weights, written by `save_weights` or by torchvision; those of
            the classifier are not loaded. Those of RGB are summed for one channel.
        dropout: before the classifier.
        stages: also return the outputs of the four stages in `hidden`, which costs memory.

    Raises:
        ImportError: torchvision is missing.
        ValueError: the weights do not match.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        in_channels: int = 3,
        *,
        modality: str = "video",
        weights: str | os.PathLike[str] | None = None,
        dropout: float = 0.0,
        stages: bool = False,
    ):
        super().__init__()
        require_positive(in_channels=in_channels)
        network = import_extra("torchvision.models.video", "video").r2plus1d_18(weights=None)
        self.modality = modality
        self.kind = get_modality(modality)
        self.dim = 512
        self.in_channels = in_channels
        self.stages = stages
        self.stem = network.stem
        self.stem[0] = with_input_channels(self.stem[0], in_channels)
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        self.head = Head(self.dim, num_classes, dropout)
        self.num_classes = num_classes
        if weights is not None:
            load_pretrained(self, weights, skip=("head.", "fc."))

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        x = self.stem(x)
        hidden = {}
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = self.get_submodule(name)(x)
            if self.stages:
                hidden[name] = x
        return self.head(x.mean(dim=(2, 3, 4)), hidden)
