"""DIST: the student's class probabilities correlate with the teacher's."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_not_negative, require_positive
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss

SHORTEST = 1e-12
"""Length of a centred vector below which its square is lost in float32."""


def dist(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """T²·(β·mean over rows of 1 − ρ + γ·mean over columns of 1 − ρ), ρ Pearson's correlation.

    Huang et al., NeurIPS 2022, eqs. 6 to 10, of the softmax of logits / T. A row holds the classes
    of one sample (inter-class relation), a column one class in all valid samples (intra-class).

    ρ with a constant is undefined. A row or column of the teacher that is constant up to rounding
    shows no relation and is left out of its mean; a constant of the student against a teacher that
    varies counts as ρ = 0. The published code counts both as ρ = 0, so that a perfect student's
    loss would not be 0. With one valid row the column term is 0; with two, each ρ of a column is
    ±1, as is each ρ of a row with two classes, and has no gradient.
    """
    keep = row_mask(valid, student)
    p_s = (zero_rows(student, keep) / temperature).softmax(dim=1)
    p_t = (zero_rows(teacher, keep) / temperature).softmax(dim=1)
    counts = keep[:, None].expand_as(p_s)
    inter, intra = correlation_gap(p_s, p_t, counts), correlation_gap(p_s.T, p_t.T, counts.T)
    return temperature**2 * (beta * inter + gamma * intra)


def correlation_gap(
    student: Float[Tensor, "n m"], teacher: Float[Tensor, "n m"], counts: Bool[Tensor, "n m"]
) -> Float[Tensor, ""]:
    """Mean of 1 − ρ over the rows in which the teacher varies, ρ over the entries that count."""
    ours, theirs = standardised(student, counts), standardised(teacher, counts)
    return masked_mean(1 - (ours * theirs).sum(dim=1), (theirs != 0).any(dim=1))


def standardised(x: Float[Tensor, "n m"], counts: Bool[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """Rows centred and of length one over the entries that count; zeros where they are constant."""
    zero = torch.zeros_like(x)
    x = torch.where(counts, x, zero)
    mean = x.sum(dim=1, keepdim=True) / counts.sum(dim=1, keepdim=True).clamp(min=1)
    centred = torch.where(counts, x - mean, zero)
    length = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    # A constant minus its rounded mean is not exactly zero; scaled to length one it would be noise.
    noise = 16 * torch.finfo(x.dtype).eps * torch.linalg.vector_norm(x, dim=1, keepdim=True)
    varies = length > noise.clamp(min=SHORTEST)
    return torch.where(varies, centred / torch.where(varies, length, torch.ones_like(length)), zero)


@register_loss("dist")
class DIST(Loss):
    """Correlation instead of equality, so that a much stronger teacher is not copied exactly.

    The paper's weight on ImageNet is 2 beside a cross-entropy of 1.

    Args:
        beta: weight of the rows (inter-class relation).
        gamma: weight of the columns (intra-class relation).
        temperature: divides both logits.
    """

    name = "dist"
    formula = "T²·(β(1 − ρ over rows) + γ(1 − ρ over columns))"
    paper = "Huang et al., NeurIPS 2022"
    needs = ("logits",)
    shared_space = False
    per_position = True
    recommended_weight = 2.0

    def __init__(self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0):
        super().__init__()
        require_positive(self.name, temperature=temperature)
        require_not_negative(self.name, beta=beta, gamma=gamma)
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        options = (self.beta, self.gamma, self.temperature)
        return dist(student.logits, teacher.logits, valid, *options)
