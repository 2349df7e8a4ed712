"""What the registered operators share: fake outputs, needed gradients, no second derivative."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def no_second_derivative(ctx: Any, *grads: Any) -> Any:
    """The autograd formula of every backward operator: an error.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        "a fused contrastive kernel has no second derivative: its backward pass recomputes the "
        'scores and keeps none; use impl="reference" where a gradient is differentiated again'
    )


def empty_gradients(x: Tensor, k: Tensor, need_x: bool, need_k: bool) -> tuple[Tensor, Tensor]:
    """Uninitialised dx and dk in float32 or wider; one that is not needed has no rows."""
    wide = torch.promote_types(x.dtype, torch.float32)
    dx = x.new_empty(x.shape if need_x else (0, x.shape[1]), dtype=wide)
    return dx, k.new_empty(k.shape if need_k else (0, k.shape[1]), dtype=wide)


def empty_statistics(x: Tensor, count: int) -> tuple[Tensor, ...]:
    """`count` uninitialised statistics of the rows of x, each [N], in float32 or wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return tuple(x.new_empty(len(x), dtype=wide) for _ in range(count))


def needed_gradients(
    gradients: tuple[Tensor, Tensor], ctx: Any, x: Tensor, k: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """dx and dk in the types of x and k; None for one that requires no gradient."""
    dx, dk = gradients
    need_x, need_k = ctx.needs_input_grad[:2]
    return dx.to(x.dtype) if need_x else None, dk.to(k.dtype) if need_k else None
