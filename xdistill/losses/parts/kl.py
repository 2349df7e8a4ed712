"""The Kullback-Leibler divergence of class probabilities, from their logarithms."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def kl(log_p: Float[Tensor, "... k"], log_q: Float[Tensor, "... k"]) -> Float[Tensor, ...]:
    """KL(p ‖ q) = Σ p·(log p − log q) over the last axis; the others broadcast."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)
