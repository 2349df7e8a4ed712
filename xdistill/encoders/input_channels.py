"""Change how many input channels a network reads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def with_input_channels(conv: nn.Module, in_channels: int) -> nn.Module:
    """`conv` itself if it reads `in_channels` channels, else a newly initialised one that does.

    Raises:
        ValueError: not a convolution of torch.nn, or a grouped one whose groups the number of
            channels cannot be divided into.
    """
    if not isinstance(conv, CONVOLUTIONS):
        raise ValueError(f"expected a convolution of torch.nn, got {type(conv).__name__}")
    if conv.in_channels == in_channels:
        return conv
    if in_channels % conv.groups:
        raise ValueError(
            f"the first convolution has {conv.groups} groups, which {in_channels} channel(s) "
            f"cannot be divided into; give it a multiple of {conv.groups} channels"
        )
    return type(conv)(
        in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,  # type: ignore[arg-type]
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )


def first_conv(network: nn.Module) -> str:
    """The name of a network's first convolution, in the order of definition.

    Raises:
        ValueError: it has none.
    """
    for name, module in network.named_modules():
        if isinstance(module, CONVOLUTIONS):
            return name
    raise ValueError(f"{type(network).__name__} has no convolution that reads its channels")


def replace_first_conv(network: nn.Module, in_channels: int) -> None:
    """Let the first convolution of a network, in the order of definition, read `in_channels`."""
    name = first_conv(network)
    parent, _, child = name.rpartition(".")
    conv = with_input_channels(network.get_submodule(name), in_channels)
    setattr(network.get_submodule(parent), child, conv)


def weights_for_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Weights of a first convolution [O, C, …] for another number of channels.

    For one channel they are summed: a grey picture, repeated as red, green and blue, gives the same
    features. For more, they are repeated in turn and scaled by C / `in_channels`, which keeps the
    sum of all. timm does both in `timm.models.adapt_input_conv`.
    """
    channels = weight.shape[1]
    if channels == in_channels:
        return weight
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    turn = torch.arange(in_channels, device=weight.device) % channels
    return weight[:, turn] * (channels / in_channels)
