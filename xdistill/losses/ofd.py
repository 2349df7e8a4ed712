"""Overhaul of feature distillation: imitate what helps, skip what a ReLU removes anyway."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.losses.parts.layers import FeatureMap, Layers, channel_counts, hidden_maps
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.shared_axes import ChannelAdapter, align
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def partial_l2(
    student: Float[Tensor, "b c *s"],
    teacher: Float[Tensor, "b c *s"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over rows of the sum of (T − S)² over channels and positions, except where S ≤ T ≤ 0.

    Heo et al., ICCV 2019, section 3.2. Where S ≤ T ≤ 0 the next ReLU removes the student's response
    just as it removes the teacher's, so it need not rise.
    """
    keep = row_mask(valid, student)
    student, teacher = zero_rows(student, keep), zero_rows(teacher, keep)
    counts = (student > teacher) | (teacher > 0)
    gap = torch.where(counts, teacher - student, torch.zeros_like(teacher))
    return masked_mean(gap.square().flatten(1).sum(1), keep)


def margin_relu(x: Float[Tensor, "b c *s"], margin: Float[Tensor, " c"]) -> Float[Tensor, "b c *s"]:
    """max(x, m) with a margin m ≤ 0 for each channel (Heo et al., ICCV 2019, section 3.2)."""
    return torch.maximum(x, margin.view(-1, *[1] * (x.ndim - 2)))


def margin_from_batch_norm(bn: BatchNorm) -> Float[Tensor, " c"]:
    """The margin of each channel behind a BatchNorm: E[x | x < 0] of a Gaussian.

    Heo et al., ICCV 2019, section 3.2. With mean β and deviation σ = |γ| it is β −
    σ·φ(β/σ)/Φ(−β/σ), and min(β, 0) for a constant channel. Public code uses −3σ where negative
    responses are rarer than one in 1000, to avoid the division; the true expectation there is close
    to 0.

    Args:
        bn: a BatchNorm with weight and bias, the last layer before the teacher's ReLU.

    Raises:
        ValueError: it has no weight or bias.
    """
    if getattr(bn, "weight", None) is None or getattr(bn, "bias", None) is None:
        raise ValueError(f"expected a BatchNorm with weight and bias (affine=True), got {bn!r}")
    mean, deviation = bn.bias.detach().double(), bn.weight.detach().double().abs()
    constant = deviation < 1e-12
    z = mean / torch.where(constant, torch.ones_like(deviation), deviation)
    log_density = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
    ratio = (
        log_density - torch.special.log_ndtr(-z)
    ).exp()  # φ(z)/Φ(−z), exact where both underflow
    margin = torch.where(constant, mean, mean - deviation * ratio).clamp(max=0)
    return margin.to(bn.bias.dtype)


class MarginReLU(nn.Module):
    """`margin_relu` with a given margin, or with the mean negative response seen in training.

    Args:
        channels: C.
        margin: [C]; None estimates it: the mean over all negative responses of a channel in all
            training batches so far, the present one included. In evaluation it stays as it is.
    """

    margin: Tensor
    seen: Tensor

    def __init__(self, channels: int, margin: Float[Tensor, " c"] | None = None):
        super().__init__()
        if margin is not None and (tuple(margin.shape) != (channels,) or bool((margin > 0).any())):
            raise ValueError(
                f"expected a margin of at most 0 for each of {channels} channels, got {margin}; "
                "margin_from_batch_norm(bn) makes one"
            )
        self.estimated = margin is None
        start = torch.zeros(channels) if margin is None else margin.detach().clone()
        self.register_buffer("margin", start)
        self.register_buffer("seen", torch.zeros(channels))

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
        if self.estimated and self.training:
            self.update(x.detach())
        return margin_relu(x, self.margin.to(x.dtype))

    def update(self, x: Float[Tensor, "b c *s"]) -> None:
        """Update the mean with the negative responses of a batch. Rows of zeros have none."""
        negative = x.clamp(max=0).movedim(1, 0).flatten(1)  # [C, BN]
        count = (negative < 0).sum(1).to(self.seen.dtype)
        gap = negative.sum(1).to(self.margin.dtype) - count * self.margin
        count, gap = (torch.where(gap.isnan(), 0.0, one) for one in (count, gap))  # NaN would stay
        self.seen.add_(count)  # in place, as torch.compile asks for
        self.margin.add_(gap / self.seen.clamp(min=1))


@register_loss("ofd")
class OFD(Loss):
    """Partial squared distance of the adapted student map to the teacher's behind a margin ReLU.

    Use the output of layers before their ReLU. The margin ReLU is applied to the teacher's map;
    then both maps are brought onto their shared axes. The student's channels pass a 1×1 convolution
    with a bias. The paper adds a BatchNorm, which gives the same set of maps at inference, but in
    training a row's value would depend on the other rows of the batch, missing ones included.

    The value is a sum over channels, positions and pairs of layers, so it grows with the map; the
    recommended weight of 1e-3 belongs to this sum. The authors' code also gives each layer half the
    weight of the next deeper one; the paper's formula does not, but its numbers depend on it.

    Args:
        layers: pairs of hidden layers, from early to late, or None for all in their order.
        margins: [E] for each pair, as from `margin_from_batch_norm`; None estimates them from the
            teacher's negative responses during training (and is a plain ReLU before that).
        official: divide the k-th layer from the end by 2^k, k = 0, 1, …
    """

    name = "ofd"
    formula = "Σ (max(T, m) − A(S))² except where A(S) ≤ max(T, m) ≤ 0"
    paper = "Heo et al., ICCV 2019"
    needs = ("hidden",)
    shared_space = False
    recommended_weight = 1e-3

    def __init__(
        self,
        layers: Layers | None = None,
        margins: Sequence[Float[Tensor, " e"]] | None = None,
        official: bool = False,
    ):
        super().__init__()
        self.layers = layers
        self.given = margins
        self.official = official
        self.adapters: nn.ModuleList | None = None
        self.margins = nn.ModuleList()

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.adapters is not None:
            return self
        counts = channel_counts(self.name, self.layers, student, teacher)
        given = [None] * len(counts) if self.given is None else list(self.given)
        if len(given) != len(counts):
            raise ValueError(
                f"ofd got {len(given)} margins for {len(counts)} pairs of hidden layers; pass one "
                "for each pair"
            )
        self.margins = nn.ModuleList(
            MarginReLU(theirs, margin) for (_, theirs), margin in zip(counts, given, strict=True)
        )
        self.adapters = nn.ModuleList(ChannelAdapter(*pair, bias=True) for pair in counts)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        maps = hidden_maps(self.name, self.layers, student, teacher)
        if self.adapters is None:
            raise ValueError(
                "ofd has no adapters yet; call loss.bind(student, teacher) with outputs or specs "
                "that hold the hidden shapes"
            )
        keep = row_mask(valid, student.embedding)
        total = student.embedding.new_zeros(())
        for place, (ours, theirs) in enumerate(maps):
            target_map = FeatureMap(self.margins[place](theirs.tensor), theirs.axes)
            s, t = align(self.name, ours, target_map)
            value = partial_l2(self.adapters[place](zero_rows(s, keep)), t, keep)
            total = total + (value / 2 ** (len(maps) - 1 - place) if self.official else value)
        return total
