"""Networks that are run on those rows alone that have their modality."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from xdistill.eval_mode import eval_mode
from xdistill.types import Outputs


def on_valid_rows(network: nn.Module, x: Tensor, valid: Bool[Tensor, " b"] | None) -> Outputs:
    """The network's outputs for the valid rows, zeros in the others."""
    if valid is None or bool(valid.all()):
        return network(x)
    if not bool(valid.any()):
        return blank_outputs(network, x)
    return network(x[valid]).map(lambda rows: _spread(rows, valid))


def _spread(rows: Tensor, valid: Bool[Tensor, " b"]) -> Tensor:
    """The rows at the places where `valid` is True, zeros elsewhere."""
    full = rows.new_zeros((len(valid), *rows.shape[1:]))
    return full.index_put((valid.nonzero().flatten(),), rows)


@torch.no_grad()
def blank_outputs(network: nn.Module, x: Tensor) -> Outputs:
    """Zeros of the shapes that the network returns; its running statistics do not change."""
    with eval_mode(network):
        return network(torch.zeros_like(x)).map(torch.zeros_like)
