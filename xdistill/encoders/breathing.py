"""An encoder for clips [B, C, T, H, W] of somebody who lies still: how one breathes and moves.

Convolutions over a whole clip learn what a sleeper looks like before they learn how regularly the
sleeper breathes, since breathing moves an edge by less than a pixel, and rectifying its course
doubles a frequency that is already near half the frame rate. Here breathing is taken apart first:
nearly all pixels of a quiet clip follow one course, its first principal component over time, and
small networks read that course, what is left of the motion, and where in the picture both are.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.encoders.head import Head, require_positive
from xdistill.encoders.image import conv_block
from xdistill.encoders.video import MOTION_GAIN, mean_and_std, normalise_clip
from xdistill.modalities import get_modality
from xdistill.registry import register_encoder
from xdistill.types import Outputs

POWER_STEPS = 12
COMPONENTS = 2
MAPS = 2 * COMPONENTS
SERIES = 4


def principal_course(motion: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b t"]:
    """The course that explains most of the motion, with mean 0 and standard deviation 1 over time.

    It is the first principal component of the frames, whose pixels must have mean 0 over time, up
    to its sign. Found by power iteration, which needs nothing but products and can be exported; it
    starts from the frame that differs most from the mean. Without motion it is 0.
    """
    frames = motion.transpose(1, 2).flatten(2)
    likeness = frames @ frames.transpose(1, 2)  # b t t
    most = likeness.diagonal(dim1=1, dim2=2).argmax(dim=1)
    course = likeness.gather(2, most[:, None, None].expand(-1, likeness.shape[1], 1))  # b t 1
    for _ in range(POWER_STEPS):
        course = likeness @ _unit_rms(course, dim=1)
    course = course - course.mean(dim=1, keepdim=True)
    return _unit_rms(course, dim=1).squeeze(2)


def explained_by(
    motion: Float[Tensor, "b c t h w"], course: Float[Tensor, "b t"]
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c t h w"]]:
    """How much each pixel follows a course of standard deviation 1, and the rest of the motion."""
    amplitude = einsum(motion, course, "b c t h w, b t -> b c h w") / course.shape[1]
    return amplitude, motion - amplitude[:, :, None] * course[:, None, :, None, None]


def _unit_rms(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Root mean square 1 along these axes; 0 stays 0."""
    return x / x.square().mean(dim=dim, keepdim=True).sqrt().clamp(min=1e-6)


def energies(
    rest: Float[Tensor, "b c t h w"], last: Float[Tensor, "b c t h w"]
) -> Float[Tensor, "b 4 t"]:
    """The logarithm of what moves beside the breathing, in each frame.

    The mean square of the motion without its first course and without both; the largest motion of
    any place without both, since a twitch is small; and the largest change from the frame before.
    """
    before = torch.cat([rest[:, :, :1], rest[:, :, :-1]], dim=2)
    change = _blurred(rest - before)
    axes = (1, 3, 4)
    found = (
        rest.square().mean(dim=axes),
        last.square().mean(dim=axes),
        _blurred(last).abs().amax(dim=axes),
        change.square().amax(dim=axes),
    )
    return (torch.stack(found, dim=1) + 1e-4).log()


def _blurred(x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t i j"]:
    """Means over 3 x 3 pixels, every second one: less noise of the sensor."""
    return F.avg_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))


class SeriesNet(nn.Module):
    """Convolutions over time, then the mean and the standard deviation: [B, C, T] -> [B, 2 D].

    Args:
        in_channels: number of series C.
        width: channels D after each convolution over five frames.
        depth: number of convolutions.
        signless: the input's sign has no meaning, as that of a principal component: the network is
            applied to the input and to its negative, and both are added.
    """

    def __init__(self, in_channels: int, width: int, depth: int, *, signless: bool = False):
        super().__init__()
        self.signless = signless
        self.dim = 2 * width
        self.norm = nn.Identity() if signless else nn.BatchNorm1d(in_channels)
        self.layers = nn.Sequential()
        for before in (in_channels, *[width] * (depth - 1)):
            self.layers.append(nn.Conv1d(before, width, 5, padding=2, bias=False))
            self.layers.append(nn.BatchNorm1d(width))
            self.layers.append(nn.ReLU(inplace=True))

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b d"]:
        if self.signless:
            x = self.layers(torch.cat([x, -x])).unflatten(0, (2, -1)).sum(dim=0)
        else:
            x = self.layers(self.norm(x))
        return mean_and_std(x)


@register_encoder("video_breathing", modality="video")
class VideoBreathing(nn.Module):
    """Reads breathing and movement off a still camera's clip; for at least one frame per second.

    Each clip is normalised (`normalise_clip`). Its motion, asinh(10 · difference from the mean
    frame), is divided into two principal courses and a rest. Networks over time read the courses,
    whose scale is taken away, and the rest's energy; a network over space reads maps of all three,
    each with root mean square 1, so that neither contrast nor depth of breathing is seen. The still
    picture is not read at all. It costs half of `video_small` and does not see what a body
    looks like: for actions, take that one.

    Args:
        num_classes: number of classes K; None for no classifier.
        in_channels: number of channels C: 3 for RGB, 1 for infrared and depth.
        modality: "video" or "depth".
        dim: width of the embedding.
        width: channels of the networks over time, and of the last ones over space.
        dropout: before the classifier.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        in_channels: int = 3,
        *,
        modality: str = "video",
        dim: int = 128,
        width: int = 32,
        dropout: float = 0.2,
    ):
        super().__init__()
        require_positive(in_channels=in_channels, dim=dim, width=width)
        self.modality = modality
        self.kind = get_modality(modality)
        self.dim = dim
        self.in_channels = in_channels
        self.courses = nn.ModuleList(
            SeriesNet(1, width, depth=3, signless=True) for _ in range(COMPONENTS)
        )
        self.energies = SeriesNet(SERIES, width, depth=2)
        self.map_norm = nn.BatchNorm2d(MAPS * in_channels)
        widths = (MAPS * in_channels, width // 2 + 1, width, width)
        self.blocks = nn.ModuleList(conv_block(*pair) for pair in pairwise(widths))
        self.embed = nn.Linear((2 * COMPONENTS + 4) * width, dim)
        self.head = Head(dim, num_classes, dropout)
        self.num_classes = num_classes

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Outputs:
        self.kind.check(x, channels=self.in_channels, finite=False)
        x = normalise_clip(x)
        rest = torch.asinh(MOTION_GAIN * (x - x.mean(dim=2, keepdim=True)))
        rests, maps, features = [], [], []
        for network in self.courses:
            course = principal_course(rest)
            features.append(network(course[:, None]))
            amplitude, rest = explained_by(rest, course)
            maps.append(amplitude.abs())
            rests.append(rest)
        features.append(self.energies(energies(*rests)))
        maps += [rest.square().mean(dim=2).sqrt(), rest.abs().amax(dim=2)]
        hidden = {}
        y = self.map_norm(torch.cat([_unit_rms(one, (1, 2, 3)) for one in maps], dim=1))
        for number, block in enumerate(self.blocks, start=1):
            hidden[f"layer{number}"] = y = block(y)
        features += [y.mean(dim=(2, 3)), y.amax(dim=(2, 3))]
        return self.head(self.embed(torch.cat(features, dim=1)), hidden)
