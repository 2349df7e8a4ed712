"""Encoders for sound [B, C, T]."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.encoders.head import require_positive
from xdistill.encoders.image import ImageSmall
from xdistill.extras import import_extra
from xdistill.modalities import get_modality
from xdistill.registry import register_encoder
from xdistill.types import Outputs

FLOOR = 1e-6
"""Power below which a mel band counts as silent, -60 dB relative to a full-scale sine."""


class LogMel(nn.Module):
    """Log-mel spectrogram [B, C, T] -> [B, C, n_mels, 1 + T // hop], windows of 25 ms every 10 ms.

    Computed in float32 under autocast too.

    Args:
        sample_rate_hz: of the waveform.
        n_mels: number of mel bands.
    """

    def __init__(self, sample_rate_hz: int = 16_000, n_mels: int = 64):
        super().__init__()
        require_positive(sample_rate_hz=sample_rate_hz, n_mels=n_mels)
        transforms = import_extra("torchaudio.transforms", "audio")
        window = max(2, round(0.025 * sample_rate_hz))
        self.spectrogram = transforms.MelSpectrogram(
            sample_rate_hz,
            # twice the window, so that even the lowest mel bands contain a frequency bin
            n_fft=2 ** (2 * window - 1).bit_length(),
            win_length=window,
            hop_length=max(1, round(0.010 * sample_rate_hz)),
            n_mels=n_mels,
            pad_mode="constant",  # reflection would refuse sounds shorter than a window
        )

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c m u"]:
        with torch.autocast(x.device.type, enabled=False):
            return torch.log(self.spectrogram(x.float()) + FLOOR)


@register_encoder("audio_small", modality="audio")
class AudioSmall(nn.Module):
    """An `ImageSmall` over the log-mel spectrogram.

    Args:
        num_classes: number of classes K; None for no classifier.
        in_channels: number of microphones C.
        modality: "audio", or another modality with the same axes.
        sample_rate_hz: of the waveform.
        n_mels: number of mel bands.
        options: `dim`, `widths` and `dropout` of `ImageSmall`.

    Raises:
        ImportError: torchaudio is missing or incompatible with the installed torch.
    """

    passes_options_to = ImageSmall

    def __init__(
        self,
        num_classes: int | None = None,
        in_channels: int = 1,
        *,
        modality: str = "audio",
        sample_rate_hz: int = 16_000,
        n_mels: int = 64,
        **options,
    ):
        super().__init__()
        self.modality = modality
        self.kind = get_modality(modality)
        self.in_channels = in_channels
        self.log_mel = LogMel(sample_rate_hz, n_mels)
        self.network = ImageSmall(num_classes, in_channels, **options)
        self.dim = self.network.dim
        self.num_classes = num_classes

    def forward(self, x: Float[Tensor, "b c t"]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        return self.network(self.log_mel(x))
