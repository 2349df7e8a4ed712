"""The logarithm of a mean of exponentials, over the entries that count."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.numerics import EXCLUDED


def log_mean_exp(scores: Float[Tensor, "b k"], mask: Bool[Tensor, "b k"]) -> Float[Tensor, ""]:
    """log of the mean of e^score over the marked entries; 0 when none is marked."""
    total = scores.masked_fill(~mask, EXCLUDED).flatten().logsumexp(dim=0)
    mean = total - mask.sum().clamp(min=1).to(total.dtype).log()
    return torch.where(mask.any(), mean, torch.zeros_like(mean))
