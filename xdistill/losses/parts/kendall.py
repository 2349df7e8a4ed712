"""Kendall's rank correlation of many pairs of rows at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

NUMBERS_AT_ONCE = 2**24
"""Bound of B·C·K, C being the number of columns that are compared with all K at once."""


@torch.no_grad()
def kendall_tau_b(a: Float[Tensor, "b k"], b: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """τ-b of each row of `a` with the same row of `b`, between −1 and 1; no gradient.

    Kendall, Biometrika 1945: Σ sign(a_i − a_j)·sign(b_i − b_j) / sqrt(n_a·n_b), where n_a and n_b
    are the numbers of pairs i ≠ j that are not tied in `a` and in `b`. A row whose entries are all
    equal has no ranking and gives 0 (NaN in SciPy). Time grows with K²; memory is bounded.
    """
    rows, columns = a.shape
    width = max(1, min(columns, NUMBERS_AT_ONCE // max(rows * columns, 1)))
    agreement = torch.zeros(rows, dtype=torch.int64, device=a.device)
    untied_a, untied_b = torch.zeros_like(agreement), torch.zeros_like(agreement)
    for first in range(0, columns, width):
        part = slice(first, first + width)
        sign_a, sign_b = _signs(a, part), _signs(b, part)  # [B, C·K]
        # Sums of at most NUMBERS_AT_ONCE times ±1 are exact in float32.
        agreement += torch.linalg.vecdot(sign_a, sign_b).long()
        untied_a += torch.linalg.vecdot(sign_a, sign_a).long()
        untied_b += torch.linalg.vecdot(sign_b, sign_b).long()
    pairs = untied_a.to(a.dtype).sqrt() * untied_b.to(a.dtype).sqrt()
    tau = agreement.to(a.dtype) / torch.where(pairs > 0, pairs, 1.0)
    return tau.clamp(-1, 1)


def _signs(x: Tensor, part: slice) -> Tensor:
    """[B, C·K]: 1 where the column of the part exceeds the other, −1 where it is below."""
    one, other = x[:, part, None], x[:, None, :]
    return ((one > other).float() - (one < other).float()).flatten(1)
