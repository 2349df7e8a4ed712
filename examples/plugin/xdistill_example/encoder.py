"""A network for chest radar."""

from __future__ import annotations

from einops.layers.torch import Reduce
from jaxtyping import Float
from torch import Tensor, nn

from xdistill import Outputs
from xdistill_example.modality import radar


class RadarEncoder(nn.Module):
    """Two strided convolutions, the mean over time, and a classifier.

    Args:
        num_classes: None for an encoder without a classifier.
        in_channels: number of radar channels C.
        dim: width of the embedding.
    """

    modality = "radar"

    def __init__(self, num_classes: int | None = None, *, in_channels: int = 1, dim: int = 16):
        super().__init__()
        self.dim = dim
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.body = nn.Sequential(
            nn.Conv1d(in_channels, dim, kernel_size=9, stride=4, padding=4),
            nn.ReLU(),
            nn.Conv1d(dim, dim, kernel_size=9, stride=4, padding=4),
            nn.ReLU(),
            Reduce("b d t -> b d", "mean"),
        )
        self.classifier = None if num_classes is None else nn.Linear(dim, num_classes)

    def forward(self, x: Float[Tensor, "b c t"]) -> Outputs:
        radar.check(x, channels=self.in_channels)
        embedding = self.body(x)
        return Outputs(embedding, None if self.classifier is None else self.classifier(embedding))
