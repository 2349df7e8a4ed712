"""How much two embeddings, or an embedding and a label, say about each other, in nats."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

RIDGE = 0.1


def gaussian_information(one: Float[Tensor, "n d"], other: Float[Tensor, "n e"]) -> float:
    """Mutual information of two embeddings as if they were jointly Gaussian.

    −½ Σ log(1 − ρ_i²) over the canonical correlations ρ of the standardised embeddings, with a
    ridge on both covariances, since they have more columns than some sets have rows. It is a lower
    bound only for Gaussian data, and no estimate for others: it ranks pairs.
    """
    a, b = (_standardised(each) for each in (one, other))
    within_a, within_b = (_root_inverse(each) for each in (a, b))
    correlations = torch.linalg.svdvals(within_a @ (a.T @ b / len(a)) @ within_b.T)
    return float(-0.5 * torch.log1p(-correlations.clamp(max=1 - 1e-6).square()).sum())


def label_information(logits: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> float:
    """What a classifier's answers say about the label: H(Y) minus their cross-entropy.

    A lower bound of the mutual information of its input and the label; negative where the answers
    are worse than the classes' shares alone.
    """
    shares = torch.bincount(target, minlength=logits.shape[1]).double() / len(target)
    entropy = -torch.special.xlogy(shares, shares).sum()
    return float(entropy - F.cross_entropy(logits.double(), target))


def _standardised(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    x = x.double()
    return (x - x.mean(dim=0)) / x.std(dim=0, correction=0).clamp(min=1e-6)


def _root_inverse(x: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """A matrix R with R C Rᵀ = 1 for the covariance C with its ridge."""
    covariance = x.T @ x / len(x) + RIDGE * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.inv(torch.linalg.cholesky(covariance))
