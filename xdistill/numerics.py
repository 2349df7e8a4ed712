"""Numbers and sums that kernels, memories, losses and data all use."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed

GIB = 2**30
"""Bytes."""

EXCLUDED = -1e30
"""Score of what takes no part in a softmax: its weight is exactly 0, its gradient finite."""


def masked_mean(values: Float[Tensor, " *n"], keep: Bool[Tensor, " *n"]) -> Float[Tensor, ""]:
    """Mean of the values that count; 0 with a gradient of 0 when there is none.

    A value that does not count must be finite in its derivative: mask the inputs first.
    """
    kept = torch.where(keep, values, torch.zeros_like(values))
    return kept.sum() / keep.sum().clamp(min=1)


def gather_processes(x: Tensor) -> Tensor:
    """The tensors of all processes, of one shape each, in the order of their ranks. No gradient.

    bool travels as bytes, since not every backend sends it.
    """
    sent = x.detach().contiguous()
    sent = sent.to(torch.uint8) if x.dtype == torch.bool else sent
    parts = [torch.empty_like(sent) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, sent)
    return torch.cat(parts).to(x.dtype)
