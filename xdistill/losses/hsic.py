"""The Hilbert-Schmidt independence criterion: the student's kernel depends on the teacher's."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.distances import distances
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_positive
from xdistill.losses.parts.pairs import distinct_pairs
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def hsic(
    ours: Float[Tensor, "b b"],
    theirs: Float[Tensor, "b b"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """tr(KHLH) / (B − 1)², H = 1 − 11ᵀ/B, of two kernel matrices K and L of the same rows.

    The biased estimator (Gretton et al., ALT 2005, eq. 9). B counts the rows that are valid.
    """
    keep = row_mask(valid, ours)
    trace = (centred(ours, keep) * centred(theirs, keep)).sum()
    return trace / (keep.sum() - 1).clamp(min=1).square()


def normalised_hsic(
    ours: Float[Tensor, "b b"],
    theirs: Float[Tensor, "b b"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) (Cortes et al., JMLR 2012), between 0 and 1.

    0 where a kernel does not vary: all its rows are equal, or there is one row alone.
    """
    keep = row_mask(valid, ours)
    # A kernel scales with the square of an embedding, and so does the length below which it counts
    # as zero.
    first, second = (unit_rows(centred(k, keep).flatten(), eps=1e-16) for k in (ours, theirs))
    return (first * second).sum()


def centred(kernel: Float[Tensor, "b b"], keep: Bool[Tensor, " b"]) -> Float[Tensor, "b b"]:
    """HKH over the rows that count, zeros elsewhere."""
    both = keep[:, None] & keep[None, :]
    kernel = torch.where(both, kernel, 0.0)
    mean = kernel.sum(dim=1) / keep.sum().clamp(min=1)  # [B]
    gap = kernel - mean[:, None] - mean[None, :] + masked_mean(mean, keep)
    return torch.where(both, gap, 0.0)


def linear_kernel(x: Float[Tensor, "b d"], keep: Bool[Tensor, " b"]) -> Float[Tensor, "b b"]:
    """x_iᵀ x_j of centred rows: the same HSIC, without the cancellation error of an offset."""
    mean = zero_rows(x, keep).sum(dim=0) / keep.sum().clamp(min=1)
    x = zero_rows(x - mean, keep)
    return x @ x.T


def rbf_kernel(
    x: Float[Tensor, "b d"], keep: Bool[Tensor, " b"], bandwidth: float | None = None
) -> Float[Tensor, "b b"]:
    """exp(−‖x_i − x_j‖² / 2σ²).

    Args:
        bandwidth: σ; None takes the median distance between two rows, or their mean where half of
            the distances are 0. It is a constant: no gradient flows through it.
    """
    distance = distances(zero_rows(x, keep))
    if bandwidth is not None:
        return torch.exp(-0.5 * (distance / bandwidth).square())
    return torch.exp(-0.5 * (distance / typical(distance.detach(), distinct_pairs(keep))).square())


def typical(distance: Float[Tensor, "b b"], pairs: Bool[Tensor, "b b"]) -> Float[Tensor, ""]:
    """The median over the pairs; the mean if that is 0, and 1 if the mean is 0 too."""
    median = distance.masked_fill(~pairs, torch.nan).nanmedian()
    mean = masked_mean(distance, pairs)
    scale = torch.where(median > 0, median, mean)  # NaN, where there is no pair, is not above 0
    return torch.where(scale > 0, scale, torch.ones_like(scale))


@register_loss("hsic")
class HSIC(Loss):
    """Raise the dependence of the student's embedding on the teacher's, by kernels; any widths.

    With fewer than two valid rows the loss is 0. Two rows always depend fully on each other.

    Args:
        kernel: "rbf" detects any dependence, "linear" a linear one only; the latter, normalised, is
            one minus linear CKA.
        bandwidth: σ of the RBF kernels of both sides; None takes each side's median distance.
        normalised: 1 − HSIC/√(HSIC_ss HSIC_tt), between 0 and 1, whatever the scale. Otherwise
            −HSIC, which with a linear kernel has no lower bound: long embeddings lower it.
    """

    name = "hsic"
    formula = "1 − HSIC(K_s, K_t)/√(HSIC(K_s, K_s)·HSIC(K_t, K_t)), HSIC = tr(KHLH)/(B − 1)²"
    paper = "Gretton et al., ALT 2005"
    shared_space = False

    def __init__(
        self,
        kernel: Literal["rbf", "linear"] = "rbf",
        bandwidth: float | None = None,
        normalised: bool = True,
    ):
        super().__init__()
        if kernel not in ("rbf", "linear"):
            raise ValueError(f'hsic: kernel must be "rbf" or "linear", got {kernel!r}')
        if bandwidth is not None and (kernel == "linear" or bandwidth <= 0):
            raise ValueError(
                f'hsic: bandwidth is for kernel="rbf" and must be above 0, got {bandwidth} with '
                f"kernel={kernel!r}"
            )
        if bandwidth is not None:
            require_positive(self.name, bandwidth=bandwidth)
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.normalised = normalised

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        keep = row_mask(valid, student.embedding)
        ours, theirs = (self.matrix(one.embedding, keep) for one in (student, teacher))
        if not self.normalised:
            return -hsic(ours, theirs, valid)
        return torch.where(keep.sum() > 1, 1 - normalised_hsic(ours, theirs, valid), 0.0)

    def matrix(self, x: Float[Tensor, "b d"], keep: Bool[Tensor, " b"]) -> Float[Tensor, "b b"]:
        """The kernel among the rows of one side."""
        if self.kernel == "linear":
            return linear_kernel(x, keep)
        return rbf_kernel(x, keep, self.bandwidth)
