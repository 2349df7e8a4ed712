"""InfoNCE between the two modalities, as CLIP trains it."""

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
from xdistill.losses.parts.options import require_counts, require_positive
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.registry import register_loss

LARGEST_LOG_SCALE = math.log(100.0)
"""Bound of the learnable ln(1 / temperature) (Radford et al., CLIP, 2021, section 2.5)."""


def infonce(
    a: Float[Tensor, "b d"],
    b: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
    scale: float | Float[Tensor, ""] = 1 / 0.07,
    gather: Gather = "none",
) -> Float[Tensor, ""]:
    """½(CE(S) + CE(Sᵀ)), S_ij = scale · cos(a_i, b_j), each row's own pair being the right class.

    van den Oord et al., 2018, eq. 4; both directions as in Radford et al., CLIP, 2021, figure 3.

    Args:
        scale: 1 / temperature. It is the logarithm of this number that is learned, so this one is
            the argument.
        gather: whose rows are compared: `kernels.infonce`.
    """
    keep = row_mask(valid, a)
    a, b = unit_rows(zero_rows(a, keep)), unit_rows(zero_rows(b, keep))
    return kernels.infonce(a, b, scale, valid=given_mask(valid, a), gather=gather)


@register_loss("infonce")
class InfoNCE(Loss):
    """Distinguish each row's pair from all other rows, in both directions. Labels are not used.

    Args:
        temperature: divides the cosines.
        learnable: learn the temperature, starting at this one, never below 0.01.
        dim: width of the shared space; makes projectors in `bind`.
        gather: under data-parallel training, compare with the rows of all processes, "all" at once
            or in turn around a "ring"; "none" compares within each process.
    """

    name = "infonce"
    formula = "½(CE(S) + CE(Sᵀ)), S = cos(f_s, f_t)/τ"
    paper = "van den Oord et al., 2018; Radford et al., ICML 2021"

    def __init__(
        self,
        temperature: float = 0.07,
        learnable: bool = False,
        dim: int | None = None,
        gather: Gather = "none",
    ):
        super().__init__()
        require_counts(self.name, dim=dim)
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature
        self.learnable = learnable
        self.dim = dim
        self.gather: Gather = gather
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature))) if learnable else None

    def scale(self) -> float | Tensor:
        """1 / temperature."""
        if self.log_scale is None:
            return 1 / self.temperature
        with torch.no_grad():  # clamping inside the graph would leave no gradient beyond the bound
            self.log_scale.clamp_(max=LARGEST_LOG_SCALE)
        return self.log_scale.exp()

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        value = infonce(student.embedding, teacher.embedding, valid, self.scale(), self.gather)
        return for_averaging(value, self.gather)
