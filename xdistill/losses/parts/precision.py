"""The precision in which losses are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from xdistill.types import Outputs

HALF = (torch.float16, torch.bfloat16)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision lifted to float32; anything else as it is."""
    return tensor.float() if tensor.dtype in HALF else tensor


@contextmanager
def default_float32() -> Iterator[None]:
    """New tensors are float32 while this lasts."""
    given = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(given)


def in_one_precision(
    loss: nn.Module, student: Outputs, teacher: Outputs
) -> tuple[Outputs, Outputs]:
    """Both outputs in the precision of the loss's matrices, or else in the wider of the two.

    A loss that has projectors cannot multiply their float32 weights with float64 embeddings;
    `loss.double()` makes it compute in float64.
    """
    # As a module's, since a Loss notes when its own are read.
    held = (p for _, p in nn.Module.named_parameters(loss))
    weights = (p.dtype for p in held if p.ndim > 1 and p.is_floating_point())
    dtype = next(weights, None)
    if dtype is None:
        dtype = torch.promote_types(student.embedding.dtype, teacher.embedding.dtype)
    if dtype == student.embedding.dtype == teacher.embedding.dtype:
        return student, teacher

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return student.map(cast), teacher.map(cast)
