"""The precision in which losses are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

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
