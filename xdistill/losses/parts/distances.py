"""Distances among the rows of a batch, in chunks that fit into memory."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

BUDGET = 2**22
"""Most elements of a tensor that a chunk of rows may make."""
WHOLE = 32
"""Most rows that are one chunk."""


def distances(x: Float[Tensor, "b d"]) -> Float[Tensor, "b b"]:
    """Euclidean distances by differences; exactly 0, with a gradient of 0, between equal rows.

    The expanded square |x|² + |y|² − 2xᵀy would leave rounding noise there. On CUDA the derivative
    of cdist holds a tensor of pairs times width; hence the chunks.
    """
    mode = "donot_use_mm_for_euclid_dist"
    chunks = x.split(rows_at_once(len(x), x.numel()))
    return torch.cat([torch.cdist(chunk, x, compute_mode=mode) for chunk in chunks])


def rows_at_once(rows: int, numbers: int) -> int:
    """How many rows make a chunk, when the largest tensor has `numbers` elements for each.

    A quarter of the rows at most, so that no tensor has B·B·D numbers at any size that matters.
    """
    return max(rows, 1) if rows <= WHOLE else max(1, min(rows // 4, BUDGET // max(numbers, 1)))
