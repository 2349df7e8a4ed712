"""Masks of the rows that count, without data-dependent shapes."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from xdistill.types import Outputs


def row_mask(valid: Bool[Tensor, " b"] | None, like: Tensor) -> Bool[Tensor, " b"]:
    """`valid`, or True for every row of `like`."""
    if valid is None:
        return torch.ones(len(like), dtype=torch.bool, device=like.device)
    return valid.to(device=like.device, dtype=torch.bool)


def given_mask(valid: Bool[Tensor, " b"] | None, like: Tensor) -> Bool[Tensor, " b"] | None:
    """`row_mask`, or None where all rows count: without a mask the kernels have less to do."""
    return None if valid is None else row_mask(valid, like)


def zero_rows(x: Tensor, keep: Bool[Tensor, " b"]) -> Tensor:
    """`x` with zeros in the rows that do not count, whatever they held (NaN too)."""
    return torch.where(keep.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x))


def without_missing(outputs: Outputs, valid: Bool[Tensor, " b"]) -> Outputs:
    """Zeros in the rows that are not valid."""
    keep = valid.to(device=outputs.embedding.device, dtype=torch.bool)
    return outputs.map(lambda tensor: zero_rows(tensor, keep))
