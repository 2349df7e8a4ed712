"""Pairs of rows of a batch that count, and means over them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def distinct_pairs(keep: Bool[Tensor, " b"]) -> Bool[Tensor, "b b"]:
    """The ordered pairs of two different rows that count."""
    other = ~torch.eye(len(keep), dtype=torch.bool, device=keep.device)
    return other & keep[:, None] & keep[None, :]


def mean_over_keys(values: Float[Tensor, "b k"], mask: Bool[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Each anchor's mean over its marked keys; 0 for an anchor without any."""
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
