"""Encoders for what a film says of a body: its breathing and movement, alone or beside the clip."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.encoders.breathing import VideoBreathing
from xdistill.encoders.head import Head, require_positive
from xdistill.encoders.signal import SignalEncoder
from xdistill.modalities import get_modality
from xdistill.registry import register_encoder
from xdistill.types import Outputs


@register_encoder("body_small", modality="body")
def body_small(
    num_classes: int | None = None, in_channels: int = 18, *, modality: str = "body", **options
) -> SignalEncoder:
    """Temporal CNN for breathing and activity [B, C, T] at about 10 Hz, half a minute long.

    `options` are those of `SignalEncoder`. The last convolution sees nine seconds, two or three
    breaths. A BatchNorm on the input adapts to the units.
    """
    options = {"dim": 64, "widths": (24, 32, 48, 64), "dropout": 0.2, **options}
    return SignalEncoder(modality, num_classes, in_channels, **options)


@register_encoder("video_body", modality="video_body")
class VideoBody(nn.Module):
    """Reads a clip and the body's signals of the same time; their embeddings are concatenated.

    A row [1, T·S·S + C·L] holds both, flat and in this order. The clip is read by `VideoBreathing`,
    the signals by `body_small`.

    Args:
        num_classes: number of classes K; None for no classifier.
        in_channels: 1.
        modality: "video_body".
        frames: T of a clip.
        size: side S of a frame in pixels.
        body_channels: C signals of the body.
        body_samples: L samples of each.
        dropout: before the classifier.

    Raises:
        ValueError: a count below 1, or more than one channel.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        in_channels: int = 1,
        *,
        modality: str = "video_body",
        frames: int = 30,
        size: int = 48,
        body_channels: int = 18,
        body_samples: int = 300,
        dropout: float = 0.2,
    ):
        super().__init__()
        require_positive(frames=frames, size=size, body_channels=body_channels)
        require_positive(body_samples=body_samples, in_channels=in_channels)
        if in_channels != 1:
            raise ValueError(f"a row of video_body is flat and has one channel, got {in_channels}")
        self.modality = modality
        self.kind = get_modality(modality)
        self.in_channels = in_channels
        self.clip = (1, frames, size, size)
        self.signals = (body_channels, body_samples)
        self.video = VideoBreathing(None, 1)
        self.body = body_small(None, body_channels)
        self.dim = self.video.dim + self.body.dim
        self.head = Head(self.dim, num_classes, dropout)
        self.num_classes = num_classes

    def forward(self, x: Float[Tensor, "b 1 n"]) -> Outputs:
        self.kind.check(x, channels=1, finite=False)
        _, frames, size, _ = self.clip
        pixels = frames * size * size
        if x.shape[2] != pixels + self.signals[0] * self.signals[1]:
            raise ValueError(
                f"video_body: a row has {x.shape[2]} values, expected a clip {list(self.clip)} and "
                f"signals {list(self.signals)}; create the encoder with the shapes of the data"
            )
        clip = x[:, 0, :pixels].unflatten(1, self.clip)
        signals = x[:, 0, pixels:].unflatten(1, self.signals)
        seen, felt = self.video(clip), self.body(signals)
        hidden = {f"video_{name}": value for name, value in seen.hidden.items()}
        hidden |= {f"body_{name}": value for name, value in felt.hidden.items()}
        return self.head(torch.cat([seen.embedding, felt.embedding], dim=1), hidden)


def joined_row(
    clip: Float[Tensor, "1 t s s"], signals: Float[Tensor, "c l"]
) -> Float[Tensor, "1 n"]:
    """A row of `VideoBody` from a clip and the body's signals."""
    return torch.cat([clip.flatten(), signals.flatten()])[None]
