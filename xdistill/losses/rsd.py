"""Redundancy suppression: each adapted feature agrees with one of the teacher's, and no other."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.losses.parts.adapted import adapted
from xdistill.losses.parts.centred_rows import centred_rows
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask
from xdistill.losses.parts.options import require_not_negative
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import create_projector, register_loss


def rsd(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
    kappa: float = 0.01,
) -> Float[Tensor, ""]:
    """Mean over the teacher's features i of (1 − C_ii)² + κ·Σ_{j≠i} C_ij² (ICCV 2025).

    C_ij is the correlation, over the rows that count, of the teacher's feature i with the student's
    feature j. A teacher's feature that is constant over the batch is left out; a constant of the
    student against one that varies counts as C = 0. With one row there is nothing to correlate, and
    value and gradient are 0.
    """
    keep = row_mask(valid, student)
    ours, theirs = (unit_rows(centred_rows(x, keep).T) for x in (student, teacher))  # [D, B]
    correlation = theirs @ ours.T
    own = torch.eye(len(correlation), dtype=torch.bool, device=correlation.device)
    penalty = torch.where(own, (1 - correlation).square(), kappa * correlation.square())
    return masked_mean(penalty.sum(dim=1), (theirs != 0).any(dim=1))


@register_loss("rsd")
class RSD(Loss):
    """The cross-correlation matrix of student and teacher features becomes the identity.

    Features are standardised over the batch, so scale and offset of the teacher's do not matter,
    and the decorrelation keeps the student from copying one strong factor into all of them. Made
    for networks of different architectures. Read from code that reports to reimplement the paper;
    the paper itself could not be opened, and its weight is not known here.

    Args:
        kappa: κ, the weight of the entries off the diagonal.
        adapter: a registered projector from the student's width to the teacher's, made in `bind`;
            without it the embeddings are compared as they are.
    """

    name = "rsd"
    formula = "mean over i of (1 − C_ii)² + κ·Σ_{j≠i} C_ij², C the correlation of f_t and A(f_s)"
    paper = "Zhang et al., ICCV 2025"
    shared_space = False

    def __init__(self, kappa: float = 0.01, adapter: str = "linear"):
        super().__init__()
        require_not_negative(self.name, kappa=kappa)
        self.kappa = kappa
        self.adapter_name = adapter
        self.adapter: nn.Module | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.adapter is None:
            self.adapter = create_projector(self.adapter_name, width(student), width(teacher))
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        ours = adapted(self.name, self.adapter, student, teacher)
        return rsd(ours, teacher.embedding, valid, self.kappa)
