"""Encoders for EEG [B, C, T] in µV."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from xdistill.encoders.head import Head, require_positive
from xdistill.encoders.input_channels import with_input_channels
from xdistill.encoders.signal import SignalEncoder
from xdistill.extras import import_extra
from xdistill.modalities import get_modality
from xdistill.registry import register_encoder
from xdistill.types import Outputs


@register_encoder("eeg_small", modality="eeg")
def eeg_small(
    num_classes: int | None = None,
    in_channels: int = 1,
    *,
    modality: str = "eeg",
    sfreq_hz: float = 100.0,
    **options,
) -> SignalEncoder:
    """Temporal CNN for EEG epochs of some seconds, small enough to train on a CPU.

    The first convolution spans half a second, so that it sees a delta wave's slope as well as a
    spindle, and its stride is 60 ms. The input, in µV, is divided by 50, a typical amplitude of
    sleep EEG. It is not normalised per epoch, because slow-wave sleep is scored by amplitude.

    Args:
        num_classes: number of classes K; None for no classifier.
        in_channels: number of derivations C.
        modality: "eeg", or another modality with the same axes (a plugin's "ecg").
        sfreq_hz: sampling rate, from which kernel and stride of the first convolution follow.
        options: those of `SignalEncoder`.
    """
    options = {
        "first_kernel": 2 * round(sfreq_hz / 4) + 1,
        "first_stride": max(1, round(0.06 * sfreq_hz)),
        "scale": 50.0,
        **options,
    }
    return SignalEncoder(modality, num_classes, in_channels, **options)


@register_encoder("attnsleep", modality="eeg")
class AttnSleep(nn.Module):
    """braindecode's AttnSleep up to its classifier (Eldele et al., 2021).

    Designed for epochs of 30 s at 100 Hz, whose embedding has 80 steps of 30 features. The input is
    in µV; the BatchNorm after the first convolutions adapts to any other scale.

    Args:
        num_classes: number of classes K; None for no classifier.
        in_channels: number of derivations C. The paper uses one; the first convolutions read all.
        modality: "eeg", or another modality with the same axes.
        sfreq_hz: sampling rate, 100 or 125.
        n_times: samples per epoch; None for 30 s.
        d_model: steps after the convolutions; braindecode's error names the value that fits.
        dropout: before the classifier.
        options: further options of `braindecode.models.AttnSleep`.

    Raises:
        ImportError: braindecode is missing.
        ValueError: `d_model` does not fit the length of an epoch.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        in_channels: int = 1,
        *,
        modality: str = "eeg",
        sfreq_hz: float = 100.0,
        n_times: int | None = None,
        d_model: int | None = None,
        dropout: float = 0.0,
        **options,
    ):
        super().__init__()
        require_positive(in_channels=in_channels, n_times=n_times)
        models = import_extra("braindecode.models", "eeg")
        self.modality = modality
        self.kind = get_modality(modality)
        self.in_channels = in_channels
        self.n_times = round(30 * sfreq_hz) if n_times is None else n_times
        self.network = models.AttnSleep(
            n_chans=in_channels,
            n_times=self.n_times,
            sfreq=sfreq_hz,
            d_model=d_model or (100 if sfreq_hz == 125 else 80),
            return_feats=True,
            **options,
        )
        convolutions = self.network.feature_extractor[0]
        for branch in (convolutions.features1, convolutions.features2):
            branch[0] = with_input_channels(branch[0], in_channels)
        for attention in self._attentions():
            # braindecode never calls it, so DDP would wait for its gradient
            attention.convs[0].requires_grad_(False)
            attention.attn = None
        self.dim = int(self.network.len_last_layer)
        self.head = Head(self.dim, num_classes, dropout)
        self.num_classes = num_classes

    def forward(self, x: Float[Tensor, "b c t"]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        if x.shape[-1] != self.n_times:
            raise ValueError(
                f"attnsleep: expected {self.n_times} samples, got {x.shape[-1]} (shape "
                f"{tuple(x.shape)}); create it with n_times={x.shape[-1]}"
            )
        held = [attention.attn for attention in self._attentions()]
        features = self.network(x)
        for attention, before in zip(self._attentions(), held, strict=True):
            # it stores its last attention weights with their graph, which cannot be copied; the
            # same object is put back, since torch.export refuses a new one
            attention.attn = before
        return self.head(features)

    def _attentions(self) -> list[Any]:
        return [layer.self_attn for layer in self.network.feature_extractor[1].layers]
