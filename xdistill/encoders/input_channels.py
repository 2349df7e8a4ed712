"""Change how many input channels a network reads."""

from __future__ import annotations

from torch import nn


def with_input_channels(conv: nn.Module, in_channels: int) -> nn.Module:
    """`conv` itself if it reads `in_channels` channels, else a newly initialised one that does."""
    if not isinstance(conv, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        raise ValueError(f"expected a convolution of torch.nn, got {type(conv).__name__}")
    if conv.in_channels == in_channels:
        return conv
    return type(conv)(
        in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )


def replace_first_conv(network: nn.Module, in_channels: int) -> None:
    """Let the first convolution of a network, in the order of definition, read `in_channels`."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, with_input_channels(module, in_channels))
            return
    raise ValueError(f"{type(network).__name__} has no convolution to read {in_channels} channels")
