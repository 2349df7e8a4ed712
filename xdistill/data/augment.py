"""Random changes of a clip that do not change its meaning."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def flip_and_shift(
    clip: Float[Tensor, "c t h w"], max_shift: float = 0.08
) -> Float[Tensor, "c t h w"]:
    """Mirror a clip horizontally and vertically at random, and shift it by a few pixels.

    All frames change alike, which preserves motion. It suits a camera that looks down on a bed,
    where no direction in the picture has a meaning. The border that a shift uncovers repeats the
    picture's edge. Random numbers come from torch's global generator.

    Args:
        max_shift: largest shift along each axis, as a share of the side.
    """
    axes = [axis for axis in (-2, -1) if bool(torch.rand(()) < 0.5)]
    clip = clip.flip(axes) if axes else clip
    for axis in (-2, -1):
        side = clip.shape[axis]
        most = int(max_shift * side)
        offset = int(torch.randint(-most, most + 1, ()))
        rows = (torch.arange(side) + offset).clamp(0, side - 1)
        clip = clip.index_select(axis, rows)
    return clip
