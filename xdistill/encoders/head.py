"""The last step of every encoder: from an embedding to `Outputs`."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from xdistill.types import Outputs


class Head(nn.Module):
    """Dropout and a linear classifier; the embedding itself is returned unchanged.

    Args:
        dim: width D of the embedding.
        num_classes: number of classes K; None for an encoder without a classifier.
        dropout: probability with which a value of the embedding is hidden from the classifier in
            training.

    Raises:
        ValueError: a number of classes or a width below 1.
    """

    def __init__(self, dim: int, num_classes: int | None = None, dropout: float = 0.0):
        super().__init__()
        require_positive(dim=dim, num_classes=num_classes)
        self.dropout = nn.Dropout(dropout)
        self.classifier = None if num_classes is None else nn.Linear(dim, num_classes)

    def forward(
        self, embedding: Float[Tensor, "b d"], hidden: Mapping[str, Tensor] | None = None
    ) -> Outputs:
        logits = None if self.classifier is None else self.classifier(self.dropout(embedding))
        return Outputs(embedding, logits, dict(hidden or {}))


def require_positive(**counts: int | None) -> None:
    """Refuse a count below 1; None means that the argument was omitted.

    Raises:
        ValueError: a count is below 1.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}; omit it to use the default")
