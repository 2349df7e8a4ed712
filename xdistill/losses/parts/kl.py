"""Class probabilities as logarithms, and their Kullback-Leibler divergence."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.masking import zero_rows


def log_probabilities(
    logits: Float[Tensor, "b k"], keep: Bool[Tensor, " b"], temperature: float
) -> Float[Tensor, "b k"]:
    """log softmax(z / T) of each row; uniform in the rows that do not count."""
    return (zero_rows(logits, keep) / temperature).log_softmax(dim=1)


def kl(log_p: Float[Tensor, "... k"], log_q: Float[Tensor, "... k"]) -> Float[Tensor, ...]:
    """KL(p ‖ q) = Σ p·(log p − log q) over the last axis; the others broadcast."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)
