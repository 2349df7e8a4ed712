"""Models of Hugging Face transformers from a local folder, as "hf/<folder>"."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from xdistill.encoders.head import Head, require_positive
from xdistill.extras import import_extra
from xdistill.modalities import get_modality
from xdistill.registry import encoders
from xdistill.types import Outputs

AXES = {"b c h w": "pictures", "b c t h w": "clips", "b c t": "waveforms"}


@encoders.register_prefix("hf")
class HuggingFace(nn.Module):
    """A vision, video or audio model of transformers, up to its last hidden state.

    Nothing is downloaded and no code of the folder is run: it must hold `config.json` and
    `model.safetensors`, as `save_pretrained` writes them. Pictures go in as `pixel_values`, clips
    with frames as their second axis, sound as a waveform of one channel. The values have to be
    scaled as the model's card says.

    Args:
        folder: the local folder.
        num_classes: number of classes K of a new classifier; None for none.
        in_channels: number of channels C. One channel is repeated where the model reads more.
        modality: "image", "video", "depth", "audio" or another modality with such axes.
        pooling: the embedding is the mean of the last hidden state over places or tokens, or its
            first token.
        pretrained: read the folder's weights; if not, only its configuration.
        dropout: before the classifier.
        options: entries of the model's configuration.

    Raises:
        ImportError: transformers is missing.
        FileNotFoundError: no such folder, or none of a model.
        ValueError: a model that does not read such batches.
    """

    def __init__(
        self,
        folder: str,
        num_classes: int | None = None,
        in_channels: int | None = None,
        *,
        modality: str = "image",
        pooling: Literal["mean", "first"] = "mean",
        pretrained: bool = True,
        dropout: float = 0.0,
        **options: Any,
    ):
        super().__init__()
        require_positive(in_channels=in_channels)
        if pooling not in ("mean", "first"):
            raise ValueError(f"pooling must be 'mean' or 'first', got {pooling!r}")
        self.kind = get_modality(modality)
        self.modality = modality
        self.pooling = pooling
        transformers = import_extra("transformers", "hf")
        if not (Path(folder) / "config.json").is_file():
            raise FileNotFoundError(
                f"hf/{folder} is no folder with a config.json; pass the local folder that "
                "save_pretrained wrote (nothing is downloaded)"
            )
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, **options)
        model = transformers.AutoModel
        self.network = (
            model.from_pretrained(
                folder, config=config, local_files_only=True, use_safetensors=True
            )
            if pretrained
            else model.from_config(config)
        ).train()
        self.input_name = str(self.network.main_input_name)
        self._check_axes(folder, config)
        self.model_channels = int(getattr(config, "num_channels", 1))
        self.in_channels = self.model_channels if in_channels is None else in_channels
        if self.in_channels not in (1, self.model_channels):
            raise ValueError(
                f"hf/{folder} reads {self.model_channels} channels, got in_channels={in_channels}; "
                "use that number, or 1"
            )
        sizes = getattr(config, "hidden_sizes", None)
        self.dim = int(sizes[-1] if sizes else config.hidden_size)
        self.head = Head(self.dim, num_classes, dropout)
        self.num_classes = num_classes

    def forward(self, x: Float[Tensor, "b c ..."]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        if x.ndim == 3:
            x = x[:, 0]
        else:
            x = x.expand(-1, self.model_channels, *x.shape[2:])
            x = x.transpose(1, 2) if x.ndim == 5 else x
        states = self.network(**{self.input_name: x}).last_hidden_state
        if states.ndim > 3:  # b d h w
            return self.head(states.flatten(2).mean(dim=2))
        return self.head(states.mean(dim=1) if self.pooling == "mean" else states[:, 0])

    def _check_axes(self, folder: str, config: Any) -> None:
        """Refuse a model that reads something else than the modality's batches."""
        reads = {"pixel_values": "pictures", "pixel_values_videos": "clips"}.get(self.input_name)
        if reads == "pictures" and (
            hasattr(config, "num_frames") or hasattr(config, "tubelet_size")
        ):
            reads = "clips"
        if self.input_name == "input_values" and not hasattr(config, "num_mel_bins"):
            reads = "waveforms"
        given = AXES.get(self.kind.axes)
        if reads is None or given != reads:
            raise ValueError(
                f"hf/{folder} ({config.model_type}) reads {reads or self.input_name}, but modality "
                f"{self.modality!r} has axes [{self.kind.axes}]; name another modality or model"
            )
