"""Losses of the whole batch under engines that average gradients over processes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.kernels.distributed import Gather


def for_averaging(value: Float[Tensor, ""], gather: Gather) -> Float[Tensor, ""]:
    """`value`, its gradient multiplied by the number of processes whose batches `gather` joins.

    With `gather` each process has its rows' part of the gradient of one value, and the parts add
    up. Data-parallel engines (DDP, FSDP, DeepSpeed) average them instead, which is right for a loss
    that every process computes from its own batch. The factor turns the mean into the sum.
    """
    if gather == "none" or not torch.distributed.is_available():
        return value
    if not torch.distributed.is_initialized():
        return value
    size = torch.distributed.get_world_size()
    return size * value - ((size - 1) * value).detach()
