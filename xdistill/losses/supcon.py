"""Supervised contrast between the two modalities."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill import kernels
from xdistill.kernels.distributed import Gather
from xdistill.losses.parts.across_ranks import for_averaging
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import given_mask, row_mask, zero_rows
from xdistill.losses.parts.options import require_counts, require_positive
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.registry import register_loss


def supcon(
    anchor: Float[Tensor, "b d"],
    key: Float[Tensor, "b d"],
    target: Int64[Tensor, " b"] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 0.1,
    gather: Gather = "none",
) -> Float[Tensor, ""]:
    """Mean over anchors of the mean over their positives of −log softmax_j(cos(a_i, k_j) / T).

    Khosla et al., NeurIPS 2020, eq. 2 (the sum outside the logarithm), at temperature T, with
    anchors of one modality and keys of the other: an anchor's own pair is always a positive.
    `kernels.supcon` says what happens to keys without a label. Without `target` this is one
    direction of InfoNCE.
    """
    keep = row_mask(valid, anchor)
    a, k = unit_rows(zero_rows(anchor, keep)), unit_rows(zero_rows(key, keep))
    return kernels.supcon(
        a,
        k,
        1 / temperature,
        target,
        target,
        paired=True,
        valid=given_mask(valid, anchor),
        gather=gather,
    )


@register_loss("supcon")
class SupCon(Loss):
    """Pull student rows to the teacher rows of their class. Anchors are the student's.

    Args:
        temperature: divides the cosines.
        dim: width of the shared space; makes projectors in `bind`.
        gather: under data-parallel training, compare with the rows of all processes, "all" at once
            or in turn around a "ring"; "none" compares within each process.
    """

    name = "supcon"
    formula = "−mean over positives of log softmax(cos(f_s, f_t)/τ)"
    paper = "Khosla et al., NeurIPS 2020"
    uses = ("labels",)

    def __init__(self, temperature: float = 0.1, dim: int | None = None, gather: Gather = "none"):
        super().__init__()
        require_counts(self.name, dim=dim)
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature
        self.dim = dim
        self.gather: Gather = gather

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        value = supcon(
            student.embedding, teacher.embedding, target, valid, self.temperature, self.gather
        )
        return for_averaging(value, self.gather)
