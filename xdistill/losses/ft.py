"""Factor transfer: the student translates what a paraphraser extracts from the teacher."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.losses.parts.layers import (
    FeatureMap,
    LayerPair,
    Layers,
    channel_counts,
    channels_first,
    hidden_maps,
    hidden_shapes,
    layer_pairs,
)
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_positive
from xdistill.losses.parts.precision import at_least_float32
from xdistill.losses.parts.shared_axes import ChannelAdapter, align
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss
from xdistill.types import Outputs


def ft(
    student: Float[Tensor, "b f *s"],
    teacher: Float[Tensor, "b f *s"],
    valid: Bool[Tensor, " b"] | None = None,
    p1: float = 2.0,
    p2: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean over rows and elements of |F_s/‖F_s‖ − F_t/‖F_t‖|^p2 between two factors.

    Kim et al., NeurIPS 2018, section 3. The paper writes the p2-norm of the gap; its code takes the
    mean over the elements, which the weights in use belong to. A widely copied port averages the
    squared channels first, as attention transfer does: that is not the paper's factor.

    Args:
        p1: order of the norm that a factor is divided by, over all channels and positions.
        p2: exponent of the gap.
    """
    keep = row_mask(valid, student)
    ours, theirs = (unit(zero_rows(x, keep).flatten(1), p1) for x in (student, teacher))
    return masked_mean((ours - theirs).abs().pow(p2).mean(1), keep)


def unit(x: Float[Tensor, "b n"], order: float) -> Float[Tensor, "b n"]:
    """Every row divided by its norm; one shorter than 1e-8 is left as it is."""
    length = torch.linalg.vector_norm(x, ord=order, dim=1, keepdim=True)
    return x / torch.where(length > 1e-8, length, torch.ones_like(length))


class Paraphraser(nn.Module):
    """An autoencoder of the channels at each place; the code is the teacher's factor.

    Its weights start orthogonal, so that before any training the factor is a random projection of
    the teacher's channels, which keeps much of their information.

    Args:
        channels: E of the teacher's map.
        factors: channels of the factor.
    """

    def __init__(self, channels: int, factors: int):
        super().__init__()
        self.encoder = three_maps(channels, channels, factors, factors)
        self.decoder = three_maps(factors, factors, channels, channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
        return self.decoder(self.encoder(x))


def three_maps(*widths: int) -> nn.Sequential:
    """1×1 convolutions with leaky ReLUs of slope 0.1 between them."""
    first, *others = (ChannelAdapter(*pair, bias=True) for pair in pairwise(widths))
    return nn.Sequential(first, *(one for other in others for one in (nn.LeakyReLU(0.1), other)))


@register_loss("ft")
class FT(Loss):
    """The student's factor, from a translator, approaches the teacher's, from a paraphraser.

    Two steps: `train_paraphraser` on the teacher's outputs alone, then the loss as usual. In the
    loss the paraphraser is frozen: it gets no gradient and no optimizer touches it. Left untrained,
    it is a fixed random projection (see `Paraphraser`), with which the loss works too, though not
    as in the paper.

    Here both modules are three 1×1 convolutions without BatchNorm instead of the paper's 3×3: so
    they work on maps of any rank, and rows do not influence each other. The factors are brought
    onto their shared axes before they are normalised. The value is the sum over pairs of layers;
    the paper uses the last group of layers only. Recommended weight: 200.

    Args:
        layers: pairs of hidden layers, or None for all in their order.
        rate: channels of the factor for each channel of the teacher's map, k in the paper.
        p1: order of the norm that factors are divided by.
        p2: exponent of the gap between them.
    """

    name = "ft"
    formula = "mean of |norm(F_t) − norm(F_s)|, F_t = paraphraser(f_t), F_s = translator(f_s)"
    paper = "Kim et al., NeurIPS 2018"
    needs = ("hidden",)
    shared_space = False
    recommended_weight = 200.0

    def __init__(
        self, layers: Layers | None = None, rate: float = 0.5, p1: float = 2.0, p2: float = 1.0
    ):
        super().__init__()
        if rate <= 0 or p1 < 1 or p2 < 1:
            raise ValueError(
                f"ft expected rate > 0, p1 >= 1 and p2 >= 1, got rate={rate}, p1={p1}, p2={p2}"
            )
        self.layers = layers
        require_positive(self.name, rate=rate, p1=p1, p2=p2)
        self.rate = rate
        self.p1 = p1
        self.p2 = p2
        self.pairs: list[LayerPair] = []
        self.paraphrasers: nn.ModuleList | None = None
        self.translators: nn.ModuleList | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.paraphrasers is not None:
            return self
        counts = channel_counts(self.name, self.layers, student, teacher)
        self.pairs = layer_pairs(
            self.name, self.layers, hidden_shapes(student), hidden_shapes(teacher)
        )
        sizes = [(ours, theirs, max(1, round(self.rate * theirs))) for ours, theirs in counts]
        self.paraphrasers = nn.ModuleList(Paraphraser(theirs, f) for _, theirs, f in sizes)
        self.paraphrasers.requires_grad_(False)
        self.translators = nn.ModuleList(three_maps(ours, ours, f, f) for ours, _, f in sizes)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        maps = hidden_maps(self.name, self.layers, student, teacher)
        keep = row_mask(valid, student.embedding)
        total = student.embedding.new_zeros(())
        for (ours, theirs), (paraphraser, translator) in zip(
            maps, self.modules_made(), strict=True
        ):
            f_s = translator(zero_rows(ours.tensor, keep))
            with torch.no_grad():
                f_t = paraphraser.encoder(theirs.tensor)
            factors = align(self.name, FeatureMap(f_s, ours.axes), FeatureMap(f_t, theirs.axes))
            total = total + ft(*factors, keep, self.p1, self.p2)
        return total

    def modules_made(self) -> list[tuple[Paraphraser, nn.Module]]:
        """The paraphraser and the translator of each pair of layers."""
        if self.paraphrasers is None or self.translators is None:
            raise ValueError(
                "ft has no paraphraser and no translator yet; call loss.bind(student, teacher) "
                "with outputs or specs that hold the hidden shapes"
            )
        made = zip(self.paraphrasers, self.translators, strict=True)
        return cast(list[tuple[Paraphraser, nn.Module]], list(made))

    def reconstruction(
        self, teacher: Outputs, valid: Bool[Tensor, " b"] | None = None
    ) -> Float[Tensor, ""]:
        """The paraphraser's own loss: mean over rows and elements of (P(f_t) − f_t)², all layers.

        The paraphrasers are frozen; `train_paraphraser` unfreezes them while it runs. In a loop of
        your own call `loss.paraphrasers.requires_grad_()`.

        Raises:
            ValueError: before `bind`, or outputs without the teacher's layers.
        """
        made = self.modules_made()
        missing = [pair.teacher for pair in self.pairs if pair.teacher not in teacher.hidden]
        if missing:
            raise ValueError(
                f"ft reconstructs hidden layers {missing} of the teacher, whose outputs hold "
                f"{list(teacher.hidden)}; pass the outputs of the teacher that it was bound with"
            )
        keep = row_mask(valid, teacher.embedding)
        total = at_least_float32(teacher.embedding).new_zeros(())
        with torch.autocast(teacher.embedding.device.type, enabled=False):
            for pair, (paraphraser, _) in zip(self.pairs, made, strict=True):
                x = at_least_float32(teacher.hidden[pair.teacher].detach())
                x = zero_rows(channels_first(x, pair.teacher_axes, pair.teacher).tensor, keep)
                total = total + masked_mean((paraphraser(x) - x).square().flatten(1).mean(1), keep)
        return total

    def train_paraphraser(
        self, teachers: Iterable[Outputs], learning_rate: float = 1e-3
    ) -> list[float]:
        """Take a step of Adam for each of the outputs; return the reconstruction before each step.

        Args:
            teachers: the teacher's outputs, batch by batch, for as many epochs as wanted. Leave out
                rows without a teacher: `outputs.rows(valid)`.
            learning_rate: of Adam.

        Raises:
            ValueError: before `bind`, or no outputs at all.
        """
        self.modules_made()
        assert self.paraphrasers is not None
        self.paraphrasers.requires_grad_()
        optimizer = torch.optim.Adam(self.paraphrasers.parameters(), lr=learning_rate)
        values: list[Tensor] = []
        try:
            with torch.enable_grad():
                for teacher in teachers:
                    value = self.reconstruction(teacher)
                    value.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    values.append(value.detach())
        finally:
            optimizer.zero_grad()
            self.paraphrasers.requires_grad_(False)
        if not values:
            raise ValueError(
                "ft trains its paraphraser on the teacher's outputs and got none; pass a list of "
                "Outputs, or an iterator that has not been used up"
            )
        return [float(value) for value in values]
