"""A loss on pairs of hidden layers, whose student channels become as many as the teacher's."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from xdistill.losses.parts.layers import Layers, channel_counts, hidden_maps
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.shared_axes import adapters_where_needed
from xdistill.types import Outputs


class AdaptedChannels(Loss):
    """Makes a linear map of channels in `bind` for each pair of layers where the numbers differ.

    Args:
        layers: pairs of hidden layers, or None for all in their order.
    """

    shared_space = False

    def __init__(self, layers: Layers | None = None):
        super().__init__()
        self.layers = layers
        self.adapters: nn.ModuleList | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.adapters is None:
            channels = channel_counts(self.label, self.layers, student, teacher)
            self.adapters = adapters_where_needed(channels)
        return self

    def adapted(self, student: Outputs, teacher: Outputs) -> Iterator[tuple[Tensor, Tensor]]:
        """Both maps of each pair, with the teacher's number of channels.

        Raises:
            ValueError: the loss is not bound, or layers that are not there.
        """
        maps = hidden_maps(self.label, self.layers, student, teacher)
        if self.adapters is None:
            raise ValueError(f"{self.label} has no adapters yet; call loss.bind(student, teacher)")
        for adapter, (ours, theirs) in zip(self.adapters, maps, strict=True):
            yield adapter(ours.tensor), theirs.tensor
