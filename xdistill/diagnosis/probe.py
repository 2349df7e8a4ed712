"""A linear classifier on embeddings, which learns from labels or from probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

PENALTIES = (1e-3, 1e-2, 1e-1)
"""What the squared weights are multiplied by, half of it; each is tried."""
STEPS = 60


@dataclass(frozen=True)
class Probe:
    """A linear classifier on standardised embeddings.

    Attributes:
        weight: [D, K].
        bias: [K].
        mean: [D], of the embeddings that it was fitted on.
        scale: [D], their standard deviation.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def logits(self, embedding: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The classifier's logits, in float64."""
        return (embedding.double() - self.mean) / self.scale @ self.weight + self.bias


def fit_probe(
    embedding: Float[Tensor, "n d"], targets: Float[Tensor, "n k"], penalty: float
) -> Probe:
    """Multinomial logistic regression with a ridge penalty, by L-BFGS in float64.

    Args:
        embedding: of the rows to learn from.
        targets: probabilities of the classes, rows of one-hot where the class is known.
        penalty: λ in mean cross-entropy + λ/2 · ‖weight‖².
    """
    x, targets = embedding.double(), targets.double()
    mean = x.mean(dim=0)
    scale = x.std(dim=0, correction=0).clamp(min=1e-6)
    x = (x - mean) / scale
    weight = x.new_zeros(x.shape[1], targets.shape[1], requires_grad=True)
    bias = x.new_zeros(targets.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, targets) + penalty * weight.square().sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[arg-type]
    return Probe(weight.detach(), bias.detach(), mean, scale)
