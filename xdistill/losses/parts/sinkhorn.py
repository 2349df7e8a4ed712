"""Entropic optimal transport between the rows of two batches."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.masking import row_mask
from xdistill.numerics import EXCLUDED


@torch.no_grad()
def sinkhorn_plan(
    cost: Float[Tensor, "b b"],
    valid: Bool[Tensor, " b"] | None = None,
    regularisation: float = 0.1,
    iterations: int = 50,
) -> Float[Tensor, "b b"]:
    """The plan P that minimises Σ P·C − ε·H(P), rows and columns of equal mass; no gradient.

    Cuturi, NeurIPS 2013, by a fixed number of Sinkhorn's iterations on the potentials, in
    logarithms so that a small ε does not underflow. The masses of the columns are exact, those of
    the rows converge with the iterations. Rows that do not count carry no mass, neither as rows nor
    as columns; the others share a mass of 1.

    Args:
        cost: C, row i to column j.
        valid: [B] the rows and columns that count.
        regularisation: ε, in the units of C.
        iterations: updates of both potentials.
    """
    keep = row_mask(valid, cost)
    both = keep[:, None] & keep[None, :]
    log_mass = -keep.sum().clamp(min=1).to(cost.dtype).log()
    kernel = (-cost / regularisation).masked_fill(~both, EXCLUDED)
    column = cost.new_zeros(cost.shape[1])
    row = column
    for _ in range(iterations):
        row = log_mass - (kernel + column[None, :]).logsumexp(dim=1)
        row = torch.where(keep, row, 0.0)
        column = log_mass - (kernel + row[:, None]).logsumexp(dim=0)
        column = torch.where(keep, column, 0.0)
    return torch.where(both, (kernel + row[:, None] + column[None, :]).exp(), 0.0)


def transport_cost(
    cost: Float[Tensor, "b b"],
    valid: Bool[Tensor, " b"] | None = None,
    regularisation: float = 0.1,
    iterations: int = 50,
) -> Float[Tensor, ""]:
    """Σ P·C of `sinkhorn_plan`, with P taken as constant; 0 where no row counts.

    By the envelope theorem P is the derivative of the minimum of Σ P·C − ε·H(P), so the gradient
    is that of the regularised objective, at the price of one product instead of a graph through all
    iterations.
    """
    plan = sinkhorn_plan(cost.detach(), valid, regularisation, iterations)
    return (plan * cost).sum()


def transport_between(
    log_p: Float[Tensor, "b k"],
    log_q: Float[Tensor, "b k"],
    cost: Float[Tensor, "b k k"],
    regularisation: float = 0.05,
    iterations: int = 10,
) -> Float[Tensor, " b"]:
    """Σ P·C of the plan that moves p onto q, row by row, after a fixed number of iterations.

    As in `sinkhorn_plan`, but of two given distributions, which change while the cost does not. So
    there is a graph through the iterations, and the gradient is that of this very number. The row
    sums of P are exactly p; the column sums approach q.

    Args:
        log_p: logarithms of the masses of the rows of P; each row of [B, K] sums to 1 without them.
        log_q: of its columns.
        cost: C ≥ 0, from row i to column j.
        regularisation: ε, in the units of C.
        iterations: updates of both potentials, at least 1.
    """
    kernel = -cost / regularisation
    row = torch.zeros_like(log_p)
    for _ in range(iterations):
        column = log_q - (kernel + row[:, :, None]).logsumexp(dim=1)
        row = log_p - (kernel + column[:, None, :]).logsumexp(dim=2)
    return ((kernel + row[:, :, None] + column[:, None, :]).exp() * cost).sum(dim=(1, 2))
