"""Wasserstein contrastive representation distillation."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.losses.parts.loss import width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.memory_loss import Form, MemoryLoss
from xdistill.losses.parts.options import require_counts, require_not_negative, require_positive
from xdistill.losses.parts.pairs import mean_over_keys
from xdistill.losses.parts.sinkhorn import transport_cost
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def global_contrast(
    positive: Float[Tensor, " b"],
    negative: Float[Tensor, "b m"],
    valid: Bool[Tensor, " b"] | None = None,
    counted: Bool[Tensor, "b m"] | None = None,
    negative_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """−(E over pairs of g − w·E over negatives of g): Chen et al., CVPR 2021, global transfer.

    With a critic g of Lipschitz constant 1 and w = 1 the bracket is a lower bound, tight for the
    best critic, of the Wasserstein distance between the joint distribution of student and teacher
    features and the product of their marginals (Kantorovich's dual; the Wasserstein dependency
    measure of Ozair et al., NeurIPS 2019). Where the two are dependent it is negative.

    Args:
        positive: g of each anchor with its own key.
        negative: g with the keys of other rows.
        valid: [B] the anchors that count.
        counted: which negatives exist, all of them when None.
        negative_weight: w; in CRD's objective it is the number of negatives.
    """
    keep = row_mask(valid, positive)
    counted = torch.ones_like(negative, dtype=torch.bool) if counted is None else counted
    return masked_mean(negative_weight * mean_over_keys(negative, counted) - positive, keep)


def local_contrast(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
    regularisation: float = 0.1,
    iterations: int = 50,
) -> Float[Tensor, ""]:
    """Cost of moving the batch's student rows onto its teacher rows, 1 − cosine a unit of mass.

    Chen et al., CVPR 2021, local transfer: the primal form of the Wasserstein distance, by
    Sinkhorn's algorithm. The pairing of the rows plays no role. Plan and gradient:
    `sinkhorn.transport_cost`.
    """
    keep = row_mask(valid, student)
    s, t = unit_rows(zero_rows(student, keep)), unit_rows(zero_rows(teacher, keep))
    return transport_cost(1 - s @ t.T, keep, regularisation, iterations)


class Critic(nn.Module):
    """W of g(s, t) = sᵀWt / √2, its largest singular value kept at 1.

    On rows of length at most one the gradient of g in (s, t) is no longer than that singular value,
    so g has Lipschitz constant 1. Spectral normalisation (Miyato et al., ICLR 2018) divides by an
    estimate of it, improved by one power iteration at each call in training mode.

    Args:
        dim: width D of the rows.
    """

    left: Tensor
    right: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dim))  # the cosine, until training finds better
        self.register_buffer("left", unit_rows(torch.randn(dim)))
        self.register_buffer("right", self.left.clone())

    def forward(self) -> Float[Tensor, "d d"]:
        """W / √2."""
        if self.training:
            with torch.no_grad():
                self.right.copy_(unit_rows(self.weight.T @ self.left))
                self.left.copy_(unit_rows(self.weight @ self.right))
        # Copies, for a graph that outlives the next call.
        left, right = self.left.clone(), self.right.clone()
        return self.weight / (math.sqrt(2) * (left @ self.weight @ right))


@register_loss("wcord")
class WCoRD(MemoryLoss):
    """global_weight · dual form over a memory + local_weight · primal form within the batch.

    The dual form has a bilinear `Critic`. Critic, projectors and student all increase its value, so
    nothing is adversarial. Keys, their memory and both directions are those of `crd`. How the
    memory differs from that of `Loss.keeps_memory`: `memory_loss.MemoryLoss`.

    The local term alone is 0 for projectors that map all rows to one point; the global term
    prevents that. `terms` holds "wcord/global" and "wcord/local".

    Args:
        global_weight: weight of the dual form, as in `crd`; 0 for none.
        local_weight: weight of the primal form, 0 for none.
        negative_weight: w of `global_contrast`.
        regularisation: ε of the plan, in units of 1 − cosine.
        iterations: number of Sinkhorn iterations.
        form: "index" or "queue", as in `crd`.
        num_negatives: K, at most num_samples − 1; the length of the queue.
        momentum: what a slot keeps of itself when its row is seen again.
        dim: width of the shared space, reached by linear projectors; None compares the embeddings
            as they are.
        num_samples: number of training rows N.
        memory_map: folder for the slots of "index", as in `crd`.
    """

    name = "wcord"
    formula = "λ_g·(E_neg g − E_pair g) + λ_l·min_P Σ P·(1 − cos(f_s, f_t)), ‖g‖_Lip = 1"
    paper = "Chen et al., CVPR 2021"
    uses = ("index",)

    def __init__(
        self,
        global_weight: float = 0.8,
        local_weight: float = 0.05,
        negative_weight: float = 1.0,
        regularisation: float = 0.1,
        iterations: int = 50,
        form: Form | None = None,
        num_negatives: int = 16384,
        momentum: float = 0.5,
        dim: int | None = 128,
        num_samples: int | None = None,
        memory_map: str | Path | None = None,
    ):
        super().__init__(form, num_negatives, momentum, dim, num_samples, memory_map)
        require_counts(self.name, iterations=iterations)
        require_not_negative(
            self.name,
            global_weight=global_weight,
            local_weight=local_weight,
            negative_weight=negative_weight,
        )
        self.global_weight = global_weight
        self.local_weight = local_weight
        self.negative_weight = negative_weight
        require_positive(self.name, regularisation=regularisation)
        self.regularisation = regularisation
        self.iterations = iterations
        self.critic: Critic | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        super().bind(student, teacher, num_classes, num_samples)
        if self.critic is None:
            self.critic = Critic(self.shared_width(width(student)))
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        memory = self.memory_for(student.embedding.shape[1])
        memory.check(index)
        assert self.critic is not None  # `bind` makes it with the memory
        keep = row_mask(valid, student.embedding)
        s = unit_rows(zero_rows(student.embedding, keep))
        t = unit_rows(zero_rows(teacher.embedding, keep))
        dual = s.new_zeros(())
        for keys in memory.keys(s, t, keep, index, self.critic()):
            dual = dual + global_contrast(
                keys.positive, keys.negative, keep, keys.counted, self.negative_weight
            )
        primal = local_contrast(s, t, keep, self.regularisation, self.iterations)
        if self.training:
            memory.update(s, t, keep, index)
        self.record({"global": dual, "local": primal})
        return self.global_weight * dual + self.local_weight * primal
