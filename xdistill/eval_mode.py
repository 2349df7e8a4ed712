"""A network that is asked something in between, and is afterwards as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Eval mode; each module's own mode is restored afterwards, also after an error.

    `network.train(before)` would do so for the outermost alone, and set a BatchNorm to train that
    the user keeps frozen in eval mode.
    """
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
