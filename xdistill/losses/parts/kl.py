"""Class probabilities as logarithms, and their Kullback-Leibler divergence."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.masking import zero_rows


def log_probabilities(
    logits: Float[Tensor, "b k"], keep: Bool[Tensor, " b"], temperature: float
) -> Float[Tensor, "b k"]:
    """log softmax(z / T) of each row; uniform in the rows that do not count."""
    return (zero_rows(logits, keep) / temperature).log_softmax(dim=1)


def kl(log_p: Float[Tensor, "... k"], log_q: Float[Tensor, "... k"]) -> Float[Tensor, ...]:
    """KL(p ‖ q) = Σ p·(log p − log q) over the last axis; the others broadcast.

    A class of p = 0 (a logit of −inf) adds 0, whatever q says of it.
    """
    gap = torch.where(log_p == -torch.inf, 0.0, log_p - log_q)
    return (log_p.exp() * gap).sum(dim=-1)
