"""Bring two feature maps of different rank and length onto the axes that they share.

An EEG map [B, C, T] and a video map [B, C, T, H, W] share only time. An axis that only one side has
is averaged away, and along a shared axis the longer side is pooled to the length of the shorter.
Both steps are fixed: nothing is learned. Channels are not changed; a loss that needs equal numbers
of them maps the student's with a `ChannelAdapter`.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from xdistill.losses.parts.layers import FeatureMap

POOLS = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def align(
    loss: str, student: FeatureMap, teacher: FeatureMap
) -> tuple[Float[Tensor, "b c *s"], Float[Tensor, "b e *s"]]:
    """Both maps on their shared axes, in the student's order, with equal lengths.

    Args:
        loss: name of the loss, for the error.
        student: [B, C, ...].
        teacher: [B, E, ...].

    Raises:
        ValueError: the two share no axis, or more than three.
    """
    shared = shared_axes(loss, student, teacher)
    ours, theirs = on_axes(student, shared), on_axes(teacher, shared)
    lengths = [min(a, b) for a, b in zip(ours.shape[2:], theirs.shape[2:], strict=True)]
    return pool_to(ours, lengths), pool_to(theirs, lengths)


def shared_axes(loss: str, student: FeatureMap, teacher: FeatureMap) -> tuple[str, ...]:
    """The axes other than batch and channels that both maps have.

    Raises:
        ValueError: there is none, or more than three.
    """
    shared = tuple(letter for letter in student.axes if letter in teacher.axes)
    if not shared or len(shared) > 3:
        found = f"share more than three axes ({' '.join(shared)})" if shared else "share no axis"
        raise ValueError(
            f"{loss}: the student's map with axes [{' '.join(('b', 'c', *student.axes))}] "
            f"{list(student.tensor.shape)} and the teacher's "
            f"[{' '.join(('b', 'c', *teacher.axes))}] "
            f"{list(teacher.tensor.shape)} {found} beside batch and channels; pair other layers, "
            "name the axes with LayerPair(..., student_axes=, teacher_axes=), or take a loss on "
            "embeddings"
        )
    return shared


def on_axes(x: FeatureMap, axes: tuple[str, ...]) -> Float[Tensor, "b c *s"]:
    """The map with the given axes in the given order, averaged over all others."""
    other = [2 + place for place, letter in enumerate(x.axes) if letter not in axes]
    tensor = x.tensor.mean(dim=other) if other else x.tensor
    kept = [letter for letter in x.axes if letter in axes]
    return tensor.permute(0, 1, *(2 + kept.index(letter) for letter in axes))


def pool_to(x: Float[Tensor, "b c *s"], lengths: list[int]) -> Float[Tensor, "b c *r"]:
    """Averages over parts of each axis; the map itself if the lengths are the same.

    The parts are equal where the lengths divide, else they overlap by one place (part i of n on an
    axis of length L runs from ⌊iL/n⌋ to ⌈(i+1)L/n⌉, as in `adaptive_avg_pool`).
    """
    if list(x.shape[2:]) == lengths:
        return x
    return POOLS[len(lengths)](x, lengths)


class ChannelAdapter(nn.Module):
    """A linear map of the channels at each place, a 1×1 convolution of any rank.

    Args:
        in_channels: C.
        out_channels: E.
        bias: whether the map has a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = False):
        super().__init__()
        self.map = nn.Linear(in_channels, out_channels, bias=bias)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b e *s"]:
        return self.map(x.movedim(1, -1)).movedim(-1, 1)


def adapters_where_needed(channels: Sequence[tuple[int, int]]) -> nn.ModuleList:
    """A `ChannelAdapter` for each pair of unequal (student, teacher) channels, else nothing.

    Args:
        channels: as from `layers.channel_counts`.
    """
    return nn.ModuleList(
        nn.Identity() if ours == theirs else ChannelAdapter(ours, theirs)
        for ours, theirs in channels
    )
