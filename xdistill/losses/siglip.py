"""The sigmoid loss of SigLIP: a binary decision for every pair of rows of the batch."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill import kernels
from xdistill.kernels.distributed import Gather
from xdistill.losses.parts.across_ranks import for_averaging
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import given_mask, row_mask, zero_rows
from xdistill.losses.parts.options import require_counts, require_finite, require_positive
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.registry import register_loss


def siglip(
    a: Float[Tensor, "b d"],
    b: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
    scale: float | Float[Tensor, ""] = 10.0,
    bias: float | Float[Tensor, ""] = -10.0,
    gather: Gather = "none",
) -> Float[Tensor, ""]:
    """−Σ_ij log σ(y_ij·(scale·cos(a_i, b_j) + bias)) / B, y_ij = 1 for i = j and −1 elsewhere.

    Zhai et al., ICCV 2023, eq. 1 and algorithm 1. B counts the valid rows; the sum runs over B².
    """
    keep = row_mask(valid, a)
    a, b = unit_rows(zero_rows(a, keep)), unit_rows(zero_rows(b, keep))
    return kernels.siglip(a, b, scale, bias, valid=given_mask(valid, a), gather=gather)


@register_loss("siglip")
class SigLIP(Loss):
    """Decide for each student row and each teacher row whether they are a pair.

    Labels are not used, so two rows of one class are negatives of each other; `supcon` pulls rows
    of a class together. Each pair is judged by itself, without a softmax over the batch, which
    suits small batches. The bias starts low because all but one of B pairs are negatives.

    Args:
        scale: multiplies the cosines, 1 / temperature; the paper's parameter is its logarithm.
        bias: added to the scaled cosines.
        learnable: learn the logarithm of the scale, and the bias, starting at these.
        dim: width of the shared space; makes projectors in `bind`.
        gather: under data-parallel training, compare with the rows of all processes, "all" at once
            or in turn around a "ring"; "none" compares within each process.
    """

    name = "siglip"
    formula = "−Σ log σ(±(s·cos(f_s, f_t) + b))/B"
    paper = "Zhai et al., ICCV 2023"

    def __init__(
        self,
        scale: float = 10.0,
        bias: float = -10.0,
        learnable: bool = True,
        dim: int | None = None,
        gather: Gather = "none",
    ):
        super().__init__()
        require_counts(self.name, dim=dim)
        if scale <= 0:
            raise ValueError(f"siglip: scale must be above 0, got {scale}; it is 1 / temperature")
        require_positive(self.name, scale=scale)
        require_finite(self.name, bias=bias)
        self.dim = dim
        self.gather: Gather = gather
        self.learnable = learnable
        self.start = scale, bias
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale))) if learnable else None
        self.bias = nn.Parameter(torch.tensor(float(bias))) if learnable else None

    @property
    def options(self):
        return {**super().options, "scale": self.start[0], "bias": self.start[1]}

    def scale_and_bias(self) -> tuple[float, float] | tuple[Tensor, Tensor]:
        """The factor of the cosines, and what is added to them."""
        if self.log_scale is None or self.bias is None:
            return self.start
        return self.log_scale.exp(), self.bias

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        scale, bias = self.scale_and_bias()
        value = siglip(student.embedding, teacher.embedding, valid, scale, bias, self.gather)
        return for_averaging(value, self.gather)
