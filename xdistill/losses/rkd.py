"""Relational knowledge distillation: distances and angles among the rows of a batch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from xdistill.losses.parts.distances import distances, rows_at_once
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_not_negative
from xdistill.losses.parts.pairs import distinct_pairs
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def rkd_distance(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over pairs i ≠ j of huber(ψ_s, ψ_t), ψ = ‖x_i − x_j‖ / mean.

    Park et al., CVPR 2019, RKD-D. ψ is 0 when all rows are equal. The published code averages
    over B² pairs, i = j included, which makes it (B − 1)/B of this.
    """
    pairs = distinct_pairs(row_mask(valid, student))
    ours, theirs = relative_distance(student, pairs), relative_distance(teacher, pairs)
    return masked_mean(F.smooth_l1_loss(ours, theirs, reduction="none"), pairs)


def relative_distance(x: Float[Tensor, "b d"], pairs: Bool[Tensor, "b b"]) -> Float[Tensor, "b b"]:
    """Euclidean distances of the rows divided by their mean over the pairs."""
    x = zero_rows(x, pairs.any(dim=1))
    # Exact zeros between equal rows: the division by the mean would amplify rounding noise.
    distance = distances(x)
    mean = masked_mean(distance, pairs)
    return distance / torch.where(mean > 0, mean, torch.ones_like(mean))


def rkd_angle(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over triples of distinct rows of huber(cos∠ijk of s, cos∠ijk of t).

    Park et al., CVPR 2019, RKD-A. j is the vertex. Two equal rows make an angle of cosine 0.
    """
    keep = row_mask(valid, student)
    student, teacher = zero_rows(student, keep), zero_rows(teacher, keep)
    pairs = distinct_pairs(keep)
    rows = len(keep)
    size = rows_at_once(rows, rows * max(rows, student.shape[1], teacher.shape[1]))
    total = student.new_zeros(())
    for first in range(0, rows, size):
        part = slice(first, first + size)
        args = (student[part], teacher[part], student, teacher, pairs[part])
        if size < rows:
            # The backward pass computes the chunk again; it draws no random numbers.
            gap = checkpoint(angle_gap, *args, use_reentrant=False, preserve_rng_state=False)
        else:
            gap = angle_gap(*args)
        total = total + gap
    count = keep.sum()
    return total / (count * (count - 1) * (count - 2)).clamp(min=1)


def angle_gap(
    student_vertex: Float[Tensor, "v d"],
    teacher_vertex: Float[Tensor, "v e"],
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    pairs: Bool[Tensor, "v b"],
) -> Float[Tensor, ""]:
    """Sum of huber over the triples whose vertex is one of V rows."""
    ours = cosines(student_vertex, student, pairs)
    theirs = cosines(teacher_vertex, teacher, pairs)
    gap = F.smooth_l1_loss(ours, theirs, reduction="none")  # [V, B, B]
    # i = k is no triple; its cosine is 1 unless a row coincides with the vertex.
    other = ~torch.eye(len(student), dtype=torch.bool, device=gap.device)
    return torch.where(other, gap, torch.zeros_like(gap)).sum()


def cosines(
    vertex: Float[Tensor, "v d"], x: Float[Tensor, "b d"], pairs: Bool[Tensor, "v b"]
) -> Float[Tensor, "v b b"]:
    """cos∠(x_i, vertex, x_k); 0 where (vertex, i) or (vertex, k) is no pair."""
    ray = unit_rows(x[None] - vertex[:, None])  # [V, B, D]
    ray = torch.where(pairs[:, :, None], ray, torch.zeros_like(ray))
    return ray @ ray.mT


@register_loss("rkd")
class RKD(Loss):
    """Distances and angles among the student's rows follow the teacher's; widths may differ.

    Args:
        distance_weight: weight of the pairwise distances.
        angle_weight: weight of the angles of triples, whose cost in time grows with B³·D.
    """

    name = "rkd"
    formula = "25·huber(d/mean d) + 50·huber(angles)"
    paper = "Park et al., CVPR 2019"
    shared_space = False

    def __init__(self, distance_weight: float = 25.0, angle_weight: float = 50.0):
        super().__init__()
        require_not_negative(self.name, distance_weight=distance_weight, angle_weight=angle_weight)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        rows = (student.embedding, teacher.embedding, valid)
        value = student.embedding.new_zeros(())
        if self.distance_weight:
            value = value + self.distance_weight * rkd_distance(*rows)
        if self.angle_weight:
            value = value + self.angle_weight * rkd_angle(*rows)
        return value
