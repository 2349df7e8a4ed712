"""A network that is only asked: in eval mode, without gradient, and afterwards as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from xdistill.eval_mode import eval_mode


@contextmanager
def frozen(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode on the device, without gradient and autocast; restored afterwards."""
    home = device_of(network)
    with eval_mode(network):
        try:
            network.to(device)
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                yield
        finally:
            network.to(home)


def device_of(network: nn.Module) -> torch.device:
    """Where its first parameter or buffer is; the CPU where it has none."""
    for tensor in (*network.parameters(), *network.buffers()):
        return tensor.device
    return torch.device("cpu")
