"""Variational information distillation."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from xdistill.losses.parts.layers import Layers, channel_counts, hidden_maps
from xdistill.losses.parts.loss import Loss, Need, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts, require_positive
from xdistill.losses.parts.shared_axes import ChannelAdapter, align
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss

EPS = 1e-5
"""Lower bound of the variance."""


class Gaussian(NamedTuple):
    """The student's prediction of the teacher's features.

    Attributes:
        mean: μ, one for each feature.
        variance: σ², one for each channel.
    """

    mean: Float[Tensor, "b c *s"]
    variance: Float[Tensor, " c"]


def vid(
    guess: Gaussian,
    teacher: Float[Tensor, "b c *s"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of ½((μ − f_t)²/σ² + log σ²).

    Ahn et al., CVPR 2019, without the constant: the negative logarithm of a Gaussian q(f_t | f_s).
    Its mean bounds the conditional entropy from above, and so the mutual information from below.
    The paper sums over channels and places; the mean keeps the weight independent of their number,
    as in the public code. It has no lower bound: a perfect student brings σ² to 0.
    """
    keep = row_mask(valid, teacher)
    gap = zero_rows(guess.mean, keep) - zero_rows(teacher, keep)
    variance = guess.variance.view(-1, *[1] * (gap.ndim - 2))
    score = (gap.square() / variance + variance.log()) / 2
    return masked_mean(score.flatten(1).mean(dim=1), keep)


class Regressor(nn.Module):
    """q(f_t | f_s): the mean by three linear maps of the channels, and a learned variance.

    Args:
        in_channels: channels of the student.
        out_channels: channels of the teacher.
        hidden_channels: channels between the maps.
        init_variance: σ² at the start.
    """

    def __init__(
        self, in_channels: int, out_channels: int, hidden_channels: int, init_variance: float
    ):
        super().__init__()
        self.mean = nn.Sequential(
            ChannelAdapter(in_channels, hidden_channels, bias=True),
            nn.ReLU(),
            ChannelAdapter(hidden_channels, hidden_channels, bias=True),
            nn.ReLU(),
            ChannelAdapter(hidden_channels, out_channels, bias=True),
        )
        # the α for which softplus(α) + EPS is the given variance
        alpha = init_variance - EPS + math.log(-math.expm1(EPS - init_variance))
        self.alpha = nn.Parameter(torch.full((out_channels,), alpha))

    def forward(self, x: Float[Tensor, "b c *s"]) -> Gaussian:
        return Gaussian(self.mean(x), F.softplus(self.alpha) + EPS)


@register_loss("vid")
class VID(Loss):
    """The student's features predict the teacher's, each channel with an uncertainty of its own.

    Channels of the teacher that the student cannot predict get a large σ² and so a small weight. σ²
    is a parameter that trains with the student: give the optimiser the loss's parameters too (`fit`
    does). One public port never trains it, which turns the loss into a scaled mean squared error.

    It compares the embeddings, or hidden layers where `layers` names them: each pair is brought
    onto the axes that it shares and has a regressor of its own, and the value is the sum over
    pairs.

    Args:
        layers: pairs of hidden layers, or None for the embeddings.
        hidden_channels: width between the maps of a regressor; the teacher's channels when None.
        init_variance: σ² at the start.

    Raises:
        ValueError: `init_variance` or `hidden_channels` is too small.
    """

    name = "vid"
    formula = "½((μ(f_s) − f_t)²/σ² + log σ²)"
    paper = "Ahn et al., CVPR 2019"
    uses = ("hidden",)
    shared_space = False
    per_position = True

    def __init__(
        self,
        layers: Layers | None = None,
        hidden_channels: int | None = None,
        init_variance: float = 5.0,
    ):
        super().__init__()
        require_counts(self.name, hidden_channels=hidden_channels)
        if not init_variance > EPS:
            raise ValueError(f"vid: init_variance must be above {EPS}, got {init_variance}")
        self.layers = layers
        self.hidden_channels = hidden_channels
        require_positive(self.name, init_variance=init_variance)
        self.init_variance = init_variance
        self.regressors: nn.ModuleList | None = None

    @property
    def inputs(self) -> tuple[Need, ...]:
        return ("embedding",) if self.layers is None else ("hidden",)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.regressors is None:
            channels = [(width(student), width(teacher))]
            if self.layers is not None:
                channels = channel_counts("vid", self.layers, student, teacher)
            self.regressors = nn.ModuleList(
                Regressor(ours, theirs, self.hidden_channels or theirs, self.init_variance)
                for ours, theirs in channels
            )
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        if self.regressors is None:
            raise ValueError("vid has no regressors yet; call loss.bind(student, teacher)")
        pairs = [(student.embedding, teacher.embedding)]
        if self.layers is not None:
            maps = hidden_maps("vid", self.layers, student, teacher)
            pairs = [align("vid", ours, theirs) for ours, theirs in maps]
        value = student.embedding.new_zeros(())
        for regressor, (ours, theirs) in zip(self.regressors, pairs, strict=True):
            value = value + vid(regressor(ours), theirs, valid)
        return value
