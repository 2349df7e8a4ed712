"""Hidden layers for the losses that compare them: named by --layers, kept by the encoders."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import xdistill as xd
from xdistill.registry import losses

Pairs = list[tuple[str, str]]


def parse_pairs(layers: Sequence[str]) -> Pairs:
    """The pairs of --layers, student's and teacher's.

    Raises:
        ValueError: a pair that is not written as student:teacher.
    """
    pairs = [tuple(one.split(":")) for one in layers]
    for pair in pairs:
        if len(pair) != 2 or not all(pair):
            raise ValueError(
                f"--layers expects student:teacher, as in layer4:layer3, got {':'.join(pair)!r}"
            )
    return [(pair[0], pair[1]) for pair in pairs]


def create_term(name: str, pairs: Pairs) -> xd.Loss:
    """A loss by name, told the layers if it compares any.

    Raises:
        ValueError: an unknown name, or a loss on hidden layers without any pair.
    """
    kind = losses.get(name)
    if "hidden" not in kind.needs or "layers" not in inspect.signature(kind).parameters:
        return xd.create_loss(name)
    if not pairs:
        raise ValueError(
            f"method {name!r} compares hidden layers; name pairs of them with --layers "
            "student:teacher, as in --layers layer2:layer1 layer4:layer3"
        )
    return xd.create_loss(name, layers=pairs)


@torch.no_grad()
def keep_layers(encoder: nn.Module, names: Sequence[str], example: Tensor) -> nn.Module:
    """The encoder, which from now on returns the named layers if it did not do so by itself.

    Args:
        encoder: any encoder, changed in place.
        names: hidden tensors that it returns, or modules inside it.
        example: [1, ...] rows of its modality.

    Raises:
        ValueError: a name that is neither.
    """
    training = encoder.training
    own = encoder.eval()(example).hidden if names else {}
    encoder.train(training)
    missing = [name for name in dict.fromkeys(names) if name not in own]
    try:
        return xd.capture(encoder, missing) if missing else encoder
    except ValueError as error:
        raise ValueError(f"{error}. By itself the encoder returns {sorted(own)}") from error
