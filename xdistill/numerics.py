"""Constants, means and gathers that kernels, memory, losses and data share."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed

GIB = 2**30
"""Bytes in a gibibyte."""

EXCLUDED = -1e30
"""Score of a masked entry of a softmax: its weight is exactly 0, and its gradient is finite."""


def masked_mean(values: Float[Tensor, " *n"], keep: Bool[Tensor, " *n"]) -> Float[Tensor, ""]:
    """Mean of the values to keep; 0, with a gradient of 0, when there are none.

    A value that is left out may be infinite or NaN, but its derivative must be finite: mask the
    inputs first.
    """
    kept = torch.where(keep, values, torch.zeros_like(values))
    return kept.sum() / keep.sum().clamp(min=1)


def gather_processes(x: Tensor) -> Tensor:
    """The tensors of all processes, all of one shape, concatenated by rank. No gradient.

    bool is sent as bytes, since not every backend supports it.
    """
    sent = x.detach().contiguous()
    sent = sent.to(torch.uint8) if x.dtype == torch.bool else sent
    parts = [torch.empty_like(sent) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, sent)
    return torch.cat(parts).to(x.dtype)
