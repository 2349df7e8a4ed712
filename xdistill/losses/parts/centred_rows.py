"""Rows minus their mean, over the rows that count."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.masking import zero_rows


def centred_rows(x: Float[Tensor, "b d"], keep: Bool[Tensor, " b"]) -> Float[Tensor, "b d"]:
    """Each column minus its mean over the rows that count; zeros in the other rows.

    Constant columns become exactly 0. Subtracting the mean alone would leave its rounding error,
    which a division by the standard deviation would amplify to the size of a feature. Hence the
    smallest value of the column is subtracted first, which changes neither result nor gradient.
    """
    if not len(x):
        return x
    smallest = torch.where(keep[:, None], x.detach(), torch.inf).amin(dim=0)
    x = zero_rows(x - smallest, keep)
    return zero_rows(x - x.sum(dim=0) / keep.sum().clamp(min=1), keep)
