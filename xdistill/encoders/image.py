"""A small encoder for images [B, C, H, W]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.encoders.head import Head, require_positive
from xdistill.modalities import get_modality
from xdistill.registry import register_encoder
from xdistill.types import Outputs


def conv_block(in_channels: int, width: int) -> nn.Sequential:
    """3x3 convolution with stride 2, BatchNorm, ReLU: [B, C, H, W] -> [B, width, H/2, W/2]."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


@register_encoder("image_small", modality="image")
class ImageSmall(nn.Module):
    """Blocks that halve the resolution, then mean and maximum over space.

    Args:
        num_classes: number of classes K; None for no classifier.
        in_channels: number of channels C.
        modality: "image".
        dim: width of the embedding.
        widths: channels after each block.
        dropout: before the classifier.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        in_channels: int = 3,
        *,
        modality: str = "image",
        dim: int = 128,
        widths: Sequence[int] = (16, 32, 64, 128),
        dropout: float = 0.0,
    ):
        super().__init__()
        require_positive(in_channels=in_channels, dim=dim)
        self.modality = modality
        self.kind = get_modality(modality)
        self.dim = dim
        self.in_channels = in_channels
        self.input_norm = nn.BatchNorm2d(in_channels)
        narrow = (in_channels, *widths[:-1])
        self.blocks = nn.ModuleList(
            conv_block(before, after) for before, after in zip(narrow, widths, strict=True)
        )
        self.embed = nn.Linear(2 * widths[-1], dim)
        self.head = Head(dim, num_classes, dropout)
        self.num_classes = num_classes

    def forward(self, x: Float[Tensor, "b c h w"]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        x = self.input_norm(x)
        hidden = {}
        for number, block in enumerate(self.blocks, start=1):
            hidden[f"layer{number}"] = x = block(x)
        pooled = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        return self.head(self.embed(pooled), hidden)
