"""Pretrained weights from a local file, for another number of input channels too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from xdistill.encoders.checkpoint import load_weights, read_weights
from xdistill.encoders.input_channels import first_conv, replace_first_conv, weights_for_channels


def load_pretrained(
    network: nn.Module, weights: str | os.PathLike[str], *, skip: Sequence[str] = ()
) -> None:
    """Fill a network from a file whose first convolution may read other channels.

    RGB weights become those of one channel by summing them; see `weights_for_channels`.

    Args:
        network: filled in place; its first convolution decides the number of channels.
        weights: as in `load_weights`.
        skip: prefixes of names that are not loaded, such as the classifier's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or does not match the network.
    """
    convs = [module for module in network.modules() if isinstance(module, nn.modules.conv._ConvNd)]
    if not convs or convs[0].groups > 1:
        load_weights(network, weights, skip=skip)
        return
    name, wanted = first_conv(network), convs[0].in_channels
    found = read_weights(Path(weights)).get(f"{name}.weight")
    if found is None or found.ndim != convs[0].weight.ndim or found.shape[1] == wanted:
        load_weights(network, weights, skip=skip)
        return
    replace_first_conv(network, found.shape[1])
    load_weights(network, weights, skip=skip)
    trained = network.get_submodule(name).state_dict()
    replace_first_conv(network, wanted)
    trained["weight"] = weights_for_channels(trained["weight"], wanted)
    with torch.no_grad():
        network.get_submodule(name).load_state_dict(trained)
