"""Which implementation of a kernel runs: asked for by name, or chosen by device and size."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, get_args

import torch
from torch import Tensor

Impl = Literal["auto", "reference", "tiled", "triton"]

SMALLEST_TILED = 2**19
"""Number of scores from which the tiled implementation is faster than the reference on a CPU."""

TRITON_IS_INSTALLED = importlib.util.find_spec("triton") is not None
"""Found once: torch.compile cannot look into the search for packages. It is not imported yet."""


def choose(op: str, impl: str, x: Tensor, keys: int) -> str:
    """The implementation that `impl` means for rows `x` [N, D] and a number of keys.

    Raises:
        ValueError: an unknown name, or one that cannot run here.
    """
    if impl not in get_args(Impl):
        raise ValueError(f"{op}: unknown impl {impl!r}; choose one of {get_args(Impl)}")
    if impl == "triton":
        reason = why_no_triton(x)
        if reason:
            raise ValueError(
                f'{op}: impl="triton" cannot run: {reason}; take impl="tiled" or impl="auto"'
            )
    if impl != "auto":
        return impl
    if x.is_cuda and why_no_triton(x) is None:
        return "triton"
    return "tiled" if len(x) * keys >= SMALLEST_TILED else "reference"


def why_no_triton(x: Tensor) -> str | None:
    """What keeps Triton from running on `x`; None where nothing does."""
    if not TRITON_IS_INSTALLED:
        return "the package triton is not installed"
    if x.dtype == torch.float64:
        return "it computes in float32 and the rows are float64"
    if not x.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        return f"it needs a CUDA device and the rows are on {x.device}"
    return None
