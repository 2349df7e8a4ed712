"""Noise-contrastive estimation with class labels, the contrast of CCL."""

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


def multiclass_nce(
    anchor: Float[Tensor, "b d"],
    key: Float[Tensor, "b d"],
    target: Int64[Tensor, " b"] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 0.5,
    gather: Gather = "none",
) -> Float[Tensor, ""]:
    """Mean over anchors of: mean over positives of −log p + mean over negatives of −log(1 − p).

    p_ij = softmax_j(cos(anchor_i, key_j) / temperature) (Chen et al., "Distilling audio-visual
    knowledge by compositional contrastive learning", CVPR 2021). `kernels.supcon` says which keys
    are positive, negative, or left out because a label is missing. An anchor without a negative, as
    in a batch of one class, contributes the first part alone.
    """
    keep = row_mask(valid, anchor)
    a, k = unit_rows(zero_rows(anchor, keep)), unit_rows(zero_rows(key, keep))
    return kernels.multiclass_nce(
        a,
        k,
        1 / temperature,
        target,
        target,
        paired=True,
        valid=given_mask(valid, anchor),
        gather=gather,
    )


def symmetric_nce(
    first: Float[Tensor, "b d"],
    second: Float[Tensor, "b d"],
    target: Int64[Tensor, " b"] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 0.5,
    gather: Gather = "none",
) -> Float[Tensor, ""]:
    """The sum of `multiclass_nce` in both directions, as CCL adds them."""
    forth = multiclass_nce(first, second, target, valid, temperature, gather)
    return forth + multiclass_nce(second, first, target, valid, temperature, gather)


@register_loss("multiclass_nce")
class MultiClassNCE(Loss):
    """Contrast student and teacher embeddings by class, or by pair where there is no label.

    Args:
        temperature: divides the cosines.
        symmetric: add the direction whose anchors are the teacher's rows.
        dim: width of the shared space; makes projectors in `bind`.
        gather: under data-parallel training, compare with the rows of all processes, "all" at once
            or in turn around a "ring"; "none" compares within each process.
    """

    name = "multiclass_nce"
    formula = "mean over positives of −log p + mean over negatives of −log(1−p)"
    paper = "Chen et al., CVPR 2021"
    uses = ("labels",)

    def __init__(
        self,
        temperature: float = 0.5,
        symmetric: bool = False,
        dim: int | None = None,
        gather: Gather = "none",
    ):
        super().__init__()
        require_counts(self.name, dim=dim)
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature
        self.symmetric = symmetric
        self.dim = dim
        self.gather: Gather = gather

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        nce = symmetric_nce if self.symmetric else multiclass_nce
        value = nce(
            student.embedding, teacher.embedding, target, valid, self.temperature, self.gather
        )
        return for_averaging(value, self.gather)
