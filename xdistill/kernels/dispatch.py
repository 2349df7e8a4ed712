"""Which implementation of a kernel runs: by name, or for "auto" by device and size."""

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
"""Looked up once, without importing it: torch.compile cannot trace the search for a package."""


def choose(op: str, impl: str, rows: Tensor, num_keys: int) -> str:
    """The implementation that `impl` stands for, given rows [N, D] and a number of keys.

    Raises:
        ValueError: an unknown name, or an implementation that cannot run here.
    """
    if impl not in get_args(Impl):
        raise ValueError(f"{op}: unknown impl {impl!r}; choose one of {get_args(Impl)}")
    if impl == "triton":
        reason = why_no_triton(rows)
        if reason:
            raise ValueError(
                f'{op}: impl="triton" cannot run: {reason}; take impl="tiled" or impl="auto"'
            )
    if impl != "auto":
        return impl
    if rows.is_cuda and why_no_triton(rows) is None:
        return "triton"
    return "tiled" if len(rows) * num_keys >= SMALLEST_TILED else "reference"


def why_no_triton(rows: Tensor) -> str | None:
    """The reason why Triton cannot run on these rows; None if it can."""
    if not TRITON_IS_INSTALLED:
        return "the package triton is not installed"
    if rows.dtype == torch.float64:
        return "it computes in float32 and the rows are float64"
    if not rows.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        return f"it needs a CUDA device and the rows are on {rows.device}"
    return None
