"""Every model of timm and braindecode and torchvision's video models, by prefix and name."""

from __future__ import annotations

import inspect
import os
import re

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.encoders.audio import LogMel
from xdistill.encoders.checkpoint import load_weights
from xdistill.encoders.head import Head, require_positive
from xdistill.encoders.input_channels import replace_first_conv
from xdistill.encoders.pretrained import load_pretrained
from xdistill.eval_mode import eval_mode
from xdistill.extras import import_extra, require_known
from xdistill.modalities import get_modality
from xdistill.registry import encoders
from xdistill.types import Outputs

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@encoders.register_prefix("timm")
class Timm(nn.Module):
    """An image model of timm, for images, frames of a clip, or log-mel spectrograms of sound.

    Frames are embedded one by one and averaged over time.

    Args:
        name: timm's name of the model.
        num_classes: number of classes K; None for no classifier.
        in_channels: number of channels C.
        modality: "image", "video", "depth" or "audio".
        pretrained: download timm's weights; timm adapts the first layer to `in_channels`.
        weights: file with such weights instead; those of the classifier are not loaded, and those
            of RGB are summed for one channel.
        sample_rate_hz: sampling rate, for audio.
        n_mels: number of mel bands, for audio.
        dropout: before the classifier.
        options: those of `timm.create_model`; a transformer needs `img_size` for any other than
            its native size.

    Raises:
        ImportError: timm is missing.
        ValueError: unknown model, a modality without frames, or weights that do not match.
    """

    def __init__(
        self,
        name: str,
        num_classes: int | None = None,
        in_channels: int = 3,
        *,
        modality: str = "image",
        pretrained: bool = False,
        weights: str | os.PathLike[str] | None = None,
        sample_rate_hz: int = 16_000,
        n_mels: int = 64,
        dropout: float = 0.0,
        **options,
    ):
        super().__init__()
        require_positive(in_channels=in_channels)
        axes = get_modality(modality).axes
        if axes not in ("b c h w", "b c t h w") and modality != "audio":
            raise ValueError(
                f"timm/{name} reads images, got modality {modality!r} with axes [{axes}]; use "
                "'image', 'video', 'depth' or 'audio'"
            )
        timm = import_extra("timm", "image")
        if ":" not in name:  # "hf-hub:…" and "local-dir:…" are addresses, not names
            require_known("timm model", name.partition(".")[0], timm.list_models())
        self.modality = modality
        self.kind = get_modality(modality)
        self.in_channels = in_channels
        self.log_mel = LogMel(sample_rate_hz, n_mels) if modality == "audio" else nn.Identity()
        self.network = timm.create_model(
            name, pretrained=pretrained, in_chans=in_channels, num_classes=0, **options
        )
        if weights is not None:
            classifier = self.network.pretrained_cfg.get("classifier") or ()
            names = (classifier,) if isinstance(classifier, str) else classifier
            load_pretrained(self.network, weights, skip=[f"{each}." for each in names])
        # a few models widen their features once more before the classifier
        self.dim = int(getattr(self.network, "head_hidden_size", self.network.num_features))
        self.head = Head(self.dim, num_classes, dropout)
        self.num_classes = num_classes

    def forward(self, x: Float[Tensor, "b c ..."]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        if x.ndim == 5:
            frames = self.network(rearrange(x, "b c t h w -> (b t) c h w"))
            return self.head(reduce(frames, "(b t) d -> b d", "mean", t=x.shape[2]))
        return self.head(self.network(self.log_mel(x)))


@encoders.register_prefix("torchvision")
class TorchvisionVideo(nn.Module):
    """A video model of torchvision without its classifier.

    Args:
        name: torchvision's name of the model.
        num_classes: number of classes K; None for no classifier.
        in_channels: number of channels C; unless it is 3, the first convolution is initialised
            anew, or from the weights of RGB, which are summed for one channel.
        modality: "video" or "depth".
        weights: file with torchvision's pretrained weights; those of the classifier are not loaded.
        dropout: before the classifier.
        options: those of torchvision's model function.

    Raises:
        ImportError: torchvision is missing.
        ValueError: unknown model, or weights that do not match it.
    """

    def __init__(
        self,
        name: str,
        num_classes: int | None = None,
        in_channels: int = 3,
        *,
        modality: str = "video",
        weights: str | os.PathLike[str] | None = None,
        dropout: float = 0.0,
        **options,
    ):
        super().__init__()
        require_positive(in_channels=in_channels)
        models = import_extra("torchvision.models", "video")
        require_known("torchvision video model", name, models.list_models(module=models.video))
        self.modality = modality
        self.kind = get_modality(modality)
        self.in_channels = in_channels
        self.network = models.get_model(name, weights=None, **options)
        classifier, self.dim = _last_linear(self.network)
        setattr(self.network, classifier, nn.Identity())
        replace_first_conv(self.network, in_channels)
        self.head = Head(self.dim, num_classes, dropout)
        self.num_classes = num_classes
        if weights is not None:
            load_pretrained(self.network, weights, skip=(f"{classifier}.",))

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        return self.head(self.network(x))


def _last_linear(network: nn.Module) -> tuple[str, int]:
    """The child that holds a network's last linear layer, and the width of its input."""
    name, layer = [pair for pair in network.named_modules() if isinstance(pair[1], LINEAR)][-1]
    return name.partition(".")[0], _input_width(layer)


def _input_width(layer: nn.Module) -> int:
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)  # type: ignore[arg-type]


@encoders.register_prefix("braindecode")
class Braindecode(nn.Module):
    """A model of braindecode; the embedding is the flattened input of its last linear layer.

    Args:
        name: the class in `braindecode.models`.
        num_classes: number of classes K. With None the network still has a classifier, of two
            classes and frozen, because braindecode builds none without; its output is discarded.
        in_channels: number of channels C.
        modality: "eeg", or another modality with the same axes.
        n_times: samples per window.
        sfreq_hz: sampling rate.
        layer: name of the module whose input is the embedding, for a network without a linear
            classifier, or to read features at an earlier layer.
        weights: file with the model's weights; those of `layer`, the classifier, are not loaded.
        options: further options of the model, such as `chs_info`.

    Raises:
        ImportError: braindecode is missing.
        ValueError: unknown model, an output that is not [B, K], or an unknown layer.
    """

    def __init__(
        self,
        name: str,
        num_classes: int | None = None,
        in_channels: int = 1,
        *,
        modality: str = "eeg",
        n_times: int = 3000,
        sfreq_hz: float = 100.0,
        layer: str | None = None,
        weights: str | os.PathLike[str] | None = None,
        **options,
    ):
        super().__init__()
        require_positive(num_classes=num_classes, in_channels=in_channels, n_times=n_times)
        model = _braindecode_models()
        require_known("braindecode model", name, model)
        self.modality = modality
        self.kind = get_modality(modality)
        self.in_channels = in_channels
        self.n_times = n_times
        self.num_classes = num_classes
        outputs = 2 if num_classes is None else num_classes
        self.network = model[name](
            n_chans=in_channels, n_outputs=outputs, n_times=n_times, sfreq=sfreq_hz, **options
        )
        self._entering: Tensor | None = None
        example = torch.zeros(2, in_channels, n_times)
        with torch.no_grad(), eval_mode(self.network):
            tapped = _classifier(self.network, example) if layer is None else layer
            self._tap(name, tapped)
            _require_logits(name, self.network(example), (2, outputs))
        self.dim = self._embedding(rows=2).shape[1]
        if weights is not None:
            load_weights(self.network, weights, skip=(f"{tapped}.",))
        if num_classes is None:
            self.network.get_submodule(tapped).requires_grad_(False)

    def forward(self, x: Float[Tensor, "b c t"]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        if x.shape[-1] != self.n_times:
            raise ValueError(
                f"{self.modality}: expected {self.n_times} samples, got {x.shape[-1]} (shape "
                f"{tuple(x.shape)}); create the encoder with n_times={x.shape[-1]}"
            )
        logits = self.network(x)
        return Outputs(
            self._embedding(x.shape[0]), logits if self.num_classes is not None else None
        )

    def _tap(self, name: str, layer: str) -> None:
        known = [each for each, _ in self.network.named_modules() if each]
        require_known(f"layer of {name}", layer, known)
        self.network.get_submodule(layer).register_forward_pre_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: tuple) -> None:
        self._entering = inputs[0]

    def _embedding(self, rows: int) -> Float[Tensor, "b d"]:
        """The layer's recorded input, not kept: an encoder that holds a graph cannot be copied."""
        entering, self._entering = self._entering, None
        if entering is None:
            raise ValueError(
                "the network did not call the layer whose input is the embedding; choose another "
                "one with layer=…"
            )
        return entering.reshape(rows, -1)


def _braindecode_models() -> dict[str, type[nn.Module]]:
    models = import_extra("braindecode.models", "eeg")
    members = inspect.getmembers(models, inspect.isclass)
    return {
        name: each
        for name, each in members
        if issubclass(each, nn.Module) and issubclass(each, models.EEGModuleMixin)
    }


def _require_logits(name: str, logits: object, shape: tuple[int, int]) -> None:
    came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if came != shape:
        raise ValueError(
            f"braindecode/{name} returns {came} for {shape[0]} windows, expected {shape}; it does "
            "not classify windows: choose another model or other options"
        )


def _classifier(network: nn.Module, example: Tensor) -> str:
    """Name of the last linear layer inside `final_layer`, in the order of execution.

    The network is run to find it, because some models define their layers in another order.
    """
    ran: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in network.named_modules()
        if isinstance(module, LINEAR)
    ]
    try:
        network(example)
    finally:
        for hook in hooks:
            hook.remove()
    final = [name for name in ran if re.match(r"(.*\.)?final_layer(\.|$)", name)]
    if not final:
        raise ValueError(
            f"{type(network).__name__} has no linear final_layer; pass layer=…, the module whose "
            f"input is the embedding, such as {[name for name, _ in network.named_children()]}"
        )
    return final[-1]
