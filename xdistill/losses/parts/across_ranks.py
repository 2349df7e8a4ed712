"""Losses of the whole batch under engines that average gradients over processes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.kernels.distributed import Gather


def for_averaging(value: Float[Tensor, ""], gather: Gather) -> Float[Tensor, ""]:
    """`value`, its gradient times the number of processes where `gather` joins their batches.

    With `gather` each process has its rows' part of the gradient of one value, and the parts add
    up. Data-parallel engines (DDP, FSDP, DeepSpeed) take their mean instead, which suits a loss
    that every process forms of its own batch. The factor makes the mean the sum.
    """
    if gather == "none" or not torch.distributed.is_available():
        return value
    if not torch.distributed.is_initialized():
        return value
    size = torch.distributed.get_world_size()
    return size * value - ((size - 1) * value).detach()
