"""Rows of length one, with a gradient that stays small at a row of zeros."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def unit_rows(x: Float[Tensor, "*b d"], eps: float = 1e-8) -> Float[Tensor, "*b d"]:
    """Every row divided by its Euclidean length; a row not longer than `eps` is unchanged.

    `torch.nn.functional.normalize` divides such a row by `eps` instead, and one embedding of zeros
    then sends a gradient of 1/eps through the encoder.
    """
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(length > eps, length, torch.ones_like(length))
