"""Agreement with an independent implementation, in value and in gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def agree(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Both functions return the same scalar and the same gradient for every input, to 1e-5.

    Gradients are compared where either function has one, relative to the largest of them.
    """
    value, gradients = _run(ours, inputs)
    expected, expected_gradients = _run(theirs, inputs)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        size = max(float(other.abs().max()), 1e-12)
        torch.testing.assert_close(gradient / size, other / size, rtol=1e-5, atol=1e-5)


def _run(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, list]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    value = function(*leaves)
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return value.detach().double(), [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, found, strict=True)
    ]
