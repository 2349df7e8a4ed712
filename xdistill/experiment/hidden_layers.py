"""Hidden layers for the losses that compare them: as pairs of names, and returned by encoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xdistill.encoders.capture import capture
from xdistill.eval_mode import eval_mode

Pairs = Sequence[tuple[str, str]]
"""Names of hidden layers that are compared: the student's, the teacher's."""


def parse_pairs(layers: Sequence[str]) -> Pairs:
    """The pairs of names of the option --layers.

    Raises:
        ValueError: a pair that is not written as student:teacher.
    """
    pairs = [tuple(one.split(":")) for one in layers]
    for pair in pairs:
        if len(pair) != 2 or not all(pair):
            raise ValueError(
                f"--layers expects student:teacher, as in layer4:layer3, got {':'.join(pair)!r}"
            )
    return tuple((pair[0], pair[1]) for pair in pairs)


@torch.no_grad()
def keep_layers(encoder: nn.Module, names: Sequence[str], example: Tensor) -> nn.Module:
    """Make an encoder return the named layers, where it does not do so by itself.

    Args:
        encoder: any encoder, changed in place.
        names: hidden tensors that it returns, or modules inside it.
        example: [1, ...] rows of its modality.

    Raises:
        ValueError: a name that is neither.
    """
    with eval_mode(encoder):
        own = encoder(example).hidden if names else {}
    missing = [name for name in dict.fromkeys(names) if name not in own]
    try:
        return capture(encoder, missing) if missing else encoder
    except ValueError as error:
        raise ValueError(f"{error}. By itself the encoder returns {sorted(own)}") from error
