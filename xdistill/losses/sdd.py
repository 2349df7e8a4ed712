"""Scale decoupled distillation: what the teacher says of each part of the input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.losses.parts.class_maps import class_maps
from xdistill.losses.parts.kl import kl
from xdistill.losses.parts.layers import Layers
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts, require_not_negative, require_positive
from xdistill.losses.parts.shared_axes import pool_to
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def sdd(
    student: Float[Tensor, "b k *s"],
    teacher: Float[Tensor, "b k *s"],
    target: Int64[Tensor, " b"] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    scales: Sequence[int] = (1, 2, 4),
    beta: float = 2.0,
    temperature: float = 4.0,
) -> Float[Tensor, ""]:
    """Mean over rows and regions of w·T²·KL(p_t ‖ p_s) (Wei et al., CVPR 2024).

    A scale n cuts each axis of the class maps into n parts, and a region's logits are the mean of
    its scores. w is β where the region's first choice of the teacher is right and that of the whole
    map (one region) wrong, or the other way round (complementary), and else 1 (consistent). In a
    row labelled -1, or without labels, the whole map's first choice stands for the label. An axis
    shorter than n is cut into its places, and a scale that makes the regions of an earlier one is
    left out.
    """
    keep = row_mask(valid, student)
    student, teacher = zero_rows(student, keep), zero_rows(teacher, keep)
    whole = teacher.flatten(2).mean(dim=2).argmax(dim=1)  # [B]
    label = whole if target is None else torch.where(target >= 0, target, whole)
    grids = {tuple(min(scale, length) for length in student.shape[2:]) for scale in scales}
    values = []
    for grid in sorted(grids):
        ours, theirs = (pool_to(x, list(grid)).flatten(2).mT for x in (student, teacher))
        log_s, log_t = ((z / temperature).log_softmax(dim=2) for z in (ours, theirs))  # [B, N, K]
        right = theirs.argmax(dim=2) == label[:, None]
        complementary = right != (whole == label)[:, None]
        weight = torch.where(complementary, beta, 1.0).to(log_s.dtype)
        values.append(weight * kl(log_t, log_s))
    return temperature**2 * masked_mean(torch.cat(values, dim=1).mean(dim=1), keep)


@register_loss("sdd")
class SDD(Loss):
    """`kd` in each region of an image, film or signal, at several scales.

    The logits of a whole input mix what its parts say. Here those of the parts are compared, too,
    and count more where the teacher's opinion of the part differs from its opinion of the whole.
    It reads maps of class scores, from `xd.class_map` on both encoders; across modalities the
    regions are those of the shared axes: of time, for a film and a signal. The paper also
    decouples `dkd` and `nkd`; here the base is `kd`. Its public code pools finer regions into
    coarser ones, which is the same where lengths divide, and treats every row as labelled. The mean
    over regions is its, too: with it the weight is that of `kd`.

    Args:
        layers: pairs of hidden layers that hold class maps, or None for all in their order.
        scales: numbers of parts of each axis.
        beta: β, the weight of complementary regions.
        temperature: divides both logits; the loss is multiplied by its square.
    """

    name = "sdd"
    formula = "mean over regions of w·T²·KL(p_t ‖ p_s), w = β where part and whole disagree on y"
    paper = "Wei et al., CVPR 2024"
    needs = ("hidden",)
    uses = ("labels",)
    shared_space = False
    recommended_weight = 0.9

    def __init__(
        self,
        layers: Layers | None = None,
        scales: Sequence[int] = (1, 2, 4),
        beta: float = 2.0,
        temperature: float = 4.0,
    ):
        super().__init__()
        require_not_negative(self.name, beta=beta)
        require_positive(self.name, temperature=temperature)
        if not scales:
            raise ValueError("sdd: scales must name at least one number of squares, got none")
        for scale in scales:
            require_counts(self.name, scales=scale)
        self.layers = layers
        self.scales = scales
        self.beta = beta
        self.temperature = temperature

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        total = student.embedding.new_zeros(())
        for ours, theirs in class_maps(self.name, self.layers, student, teacher):
            total = total + sdd(
                ours, theirs, target, valid, self.scales, self.beta, self.temperature
            )
        return total
