"""Normalisation of a teacher's features before they are regressed, over rows or over features."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.centred_rows import centred_rows

Normalise = Literal["none", "layer", "standardise", "whiten"]
"""What is done to a teacher's features: see `normalised`."""
KINDS: tuple[Normalise, ...] = ("none", "layer", "standardise", "whiten")


def require_kind(loss: str, kind: str) -> None:
    """Refuse a normalisation that does not exist."""
    if kind not in KINDS:
        raise ValueError(f"{loss}: normalise must be one of {list(KINDS)}, got {kind!r}")


@torch.no_grad()
def normalised(
    x: Float[Tensor, "b d"], keep: Bool[Tensor, " b"], kind: Normalise, eps: float = 1e-5
) -> Float[Tensor, "b d"]:
    """The features, normalised over the rows that count; no gradient.

    Args:
        x: features.
        keep: the rows that count; what the others hold plays no role.
        kind: "layer" brings each row to mean 0 and variance 1, "standardise" each feature over the
            batch, and "whiten" all features to uncorrelated ones of variance 1 over the batch, as
            close as possible to what they were (ZCA: the inverse root of the covariance). A
            direction of no variance becomes 0, so with B rows at most B − 1 directions are left.
        eps: added to variances, and for "whiten" the share of the largest variance below which a
            direction counts as constant.
    """
    if kind == "none":
        return x
    if kind == "layer":
        return F.layer_norm(torch.where(keep[:, None], x, 0.0), x.shape[1:], eps=eps)
    centred = centred_rows(x, keep)
    count = keep.sum().clamp(min=1)
    if kind == "standardise":
        return centred * (centred.square().sum(dim=0) / count + eps).rsqrt()
    # The singular values of the rows, rather than the eigenvalues of the covariance: half the loss
    # of digits, and no D × D matrix where rows are few.
    left, sizes, right = torch.linalg.svd(centred, full_matrices=False)
    real = sizes.square() > eps * sizes.square().amax(dim=0, keepdim=True)
    return ((left * real) @ right) * count.to(x.dtype).sqrt()
