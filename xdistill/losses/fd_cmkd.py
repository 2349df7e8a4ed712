"""Frequency-decoupled cross-modal distillation: low frequencies strictly, high ones loosely."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from xdistill.losses.cross_entropy import cross_entropy
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts, require_not_negative, require_num_classes
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


class Bands(NamedTuple):
    """An embedding without its mean, as the sum of two frequency bands."""

    low: Float[Tensor, "b d"]
    high: Float[Tensor, "b d"]


def frequency_bands(x: Float[Tensor, "b d"], cutoff: float = 0.5) -> Bands:
    """Both bands of every row's discrete Fourier transform over its channels (eqs. 1 to 3).

    Bins 1 to c are low and c + 1 to D/2 high, c = cutoff·D/2 rounded down and at least 1. Bin 0,
    the row's mean, is in neither: leaving it out is the mean subtraction of eq. 7.
    """
    dim = x.shape[1]
    if not len(x):
        return Bands(x, x)  # no transform of no rows
    spectrum = torch.fft.rfft(x, dim=1)  # [B, D/2 + 1]
    bins = torch.arange(spectrum.shape[1], device=x.device)
    split = max(int(cutoff * (dim // 2)), 1)
    low = torch.where((bins > 0) & (bins <= split), spectrum, torch.zeros_like(spectrum))
    high = torch.where(bins > split, spectrum, torch.zeros_like(spectrum))
    return Bands(torch.fft.irfft(low, n=dim, dim=1), torch.fft.irfft(high, n=dim, dim=1))


def signed_log(x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """sign(x)·log(1 + |x|) (eq. 6); its slope at 0 is 1."""
    # In halves: sign(x) has derivative 0, so autograd would return 0 at a channel of exactly 0.
    zero = torch.zeros_like(x)
    above, below = torch.where(x < 0, zero, x), torch.where(x < 0, x, zero)
    return torch.log1p(above) - torch.log1p(-below)


def fd_low(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over rows and channels of (Std(s) − Std(t))² of the low bands (eq. 8)."""
    keep = row_mask(valid, student)
    gap = unit_rows(zero_rows(student, keep)) - unit_rows(zero_rows(teacher, keep))
    return masked_mean(gap.square().mean(dim=1), keep)


def fd_high(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """The same for the high bands after `signed_log`, which forgives large gaps (eq. 9)."""
    keep = row_mask(valid, student)
    ours, theirs = (signed_log(unit_rows(zero_rows(x, keep))) for x in (student, teacher))
    return masked_mean((ours - theirs).square().mean(dim=1), keep)


class SharedClassifiers(nn.Module):
    """One classifier for the low bands of both sides, one for the high bands (eq. 10)."""

    def __init__(self, dim: int, num_classes: int):
        super().__init__()
        self.low = nn.Linear(dim, num_classes)
        self.high = nn.Linear(dim, num_classes)

    def forward(
        self, student: Bands, teacher: Bands, labels: Int64[Tensor, " b"]
    ) -> Float[Tensor, ""]:
        """The sum of the four cross-entropies; labels of -1 do not count."""
        logits = [self.low(one.low) for one in (student, teacher)]
        logits += [self.high(one.high) for one in (student, teacher)]
        return torch.stack([cross_entropy(one, labels) for one in logits]).sum()


@register_loss("fd_cmkd")
class FDCMKD(Loss):
    """Low frequencies of the embedding are matched strictly, high ones loosely.

    Liu et al., "Distilling Cross-Modal Knowledge via Feature Disentanglement", AAAI 2026. A
    frequency here is one over the *channels* of an embedding, whose order is arbitrary for most
    encoders; this is as published. Each band is scaled to length one before it is compared, so both
    terms are small: at most 4/D.

    The classifiers see the bands unscaled. They give gradient to the student, and to both
    projectors where there are any. Rows without a label are left out of them. Published code puts a
    ReLU before each classifier and trains two more on the student's bands alone; neither is in the
    paper's total, and both are left out.

    Args:
        low_weight: λ₁ of the low band.
        high_weight: λ₂ of the high band.
        align_weight: weight of the shared classifiers; with 0 none are made.
        cutoff: share of the frequencies that are low.
        dim: width of the shared space; makes projectors in `bind`.
        num_classes: number of classes K.
    """

    name = "fd_cmkd"
    formula = "‖l̂_s − l̂_t‖²/D + ‖σ(ĥ_s) − σ(ĥ_t)‖²/D + Σ CE(Φ(band), y), σ = ±log(1+|x|)"
    paper = "Liu et al., AAAI 2026"
    uses = ("labels",)

    def __init__(
        self,
        low_weight: float = 1.0,
        high_weight: float = 1.0,
        align_weight: float = 1.0,
        cutoff: float = 0.5,
        dim: int | None = None,
        num_classes: int | None = None,
    ):
        super().__init__()
        require_counts(self.name, dim=dim, num_classes=num_classes)
        if not 0 < cutoff <= 1:
            raise ValueError(
                f"fd_cmkd: cutoff is the share of low frequencies, in (0, 1], got {cutoff}"
            )
        require_not_negative(
            self.name, low_weight=low_weight, high_weight=high_weight, align_weight=align_weight
        )
        self.low_weight = low_weight
        self.high_weight = high_weight
        self.align_weight = align_weight
        self.cutoff = cutoff
        self.dim = dim
        self.num_classes = num_classes
        self.classifiers: SharedClassifiers | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        super().bind(student, teacher, num_classes, num_samples)
        if self.classifiers is None and self.align_weight:
            classes = require_num_classes(
                self.name,
                "has shared classifiers (unless align_weight=0)",
                self.num_classes,
                num_classes,
            )
            self.classifiers = SharedClassifiers(self.shared_width(width(student)), classes)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        keep = row_mask(valid, student.embedding)
        ours = frequency_bands(zero_rows(student.embedding, keep), self.cutoff)
        theirs = frequency_bands(zero_rows(teacher.embedding, keep), self.cutoff)
        low, high = fd_low(ours.low, theirs.low, keep), fd_high(ours.high, theirs.high, keep)
        align = self._align(ours, theirs, target, keep)
        self.record({"low": low, "high": high, "align": align})
        return self.low_weight * low + self.high_weight * high + self.align_weight * align

    def _align(
        self,
        student: Bands,
        teacher: Bands,
        target: Int64[Tensor, " b"] | None,
        keep: Bool[Tensor, " b"],
    ) -> Float[Tensor, ""]:
        if self.align_weight and self.classifiers is None:
            raise ValueError(
                "fd_cmkd has no shared classifiers yet; call loss.bind(student, teacher, "
                "num_classes), or leave them out with align_weight=0"
            )
        if self.classifiers is None or target is None:
            return student.low.new_zeros(())
        return self.classifiers(student, teacher, target.masked_fill(~keep, -1))
