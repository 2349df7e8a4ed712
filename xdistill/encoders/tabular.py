"""An encoder for feature vectors [B, C], measured or precomputed by another network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from xdistill.encoders.head import Head, require_positive
from xdistill.modalities import Modality
from xdistill.registry import register_encoder
from xdistill.types import Outputs


@register_encoder("mlp", modality="tabular")
class MLP(nn.Module):
    """Linear maps with ReLU between them.

    It does not normalise: standardise the features with the statistics of the training rows.

    Args:
        in_features: number of features C.
        num_classes: number of classes K; None for no classifier.
        dim: width of the embedding.
        hidden: widths of the layers before the embedding.
        modality: the modality that the features describe. A table of video features is "video",
            although a batch of it has the axes [B, C].
        in_channels: `in_features` by the name that other encoders use.
        dropout: after each hidden layer and before the classifier.

    Raises:
        ValueError: the number of features is missing or given twice, or a width is below 1.
    """

    def __init__(
        self,
        in_features: int | None = None,
        num_classes: int | None = None,
        dim: int = 64,
        hidden: Sequence[int] = (128,),
        *,
        modality: str = "tabular",
        in_channels: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        features = in_channels if in_features is None else in_features
        if features is None or None not in (in_features, in_channels):
            raise ValueError(
                f"mlp needs its number of features once, got in_features={in_features} and "
                f"in_channels={in_channels}; pass in_features=table.shape[1]"
            )
        require_positive(in_features=features, dim=dim)
        self.modality = modality
        self.kind = Modality(modality, "b c", "any unit", "feature")
        self.dim = dim
        self.in_channels = features
        widths = (features, *hidden)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(narrow, wide), nn.ReLU(inplace=True), nn.Dropout(dropout))
            for narrow, wide in pairwise(widths)
        )
        self.embed = nn.Linear(widths[-1], dim)
        self.head = Head(dim, num_classes, dropout)
        self.num_classes = num_classes

    def forward(self, x: Float[Tensor, "b c"]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        hidden = {}
        for number, layer in enumerate(self.layers, start=1):
            hidden[f"layer{number}"] = x = layer(x)
        return self.head(self.embed(x), hidden)
