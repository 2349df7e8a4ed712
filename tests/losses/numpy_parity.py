"""Agreement with a formula in numpy or scipy, in value and in gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def agree_with_numpy(
    ours: Callable[..., Tensor], theirs: Callable[..., float], *inputs: Tensor
) -> None:
    """`theirs` gets float64 arrays; its gradients are central differences.

    Values and gradients, relative to the largest one, are equal to 1e-5 for every input.
    """
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    value = ours(*leaves)
    arrays = [tensor.numpy().astype(np.float64) for tensor in inputs]
    assert abs(value.item() - theirs(*arrays)) <= 1e-5 * max(1.0, abs(value.item()))
    gradients = torch.autograd.grad(value, leaves)
    for place, gradient in enumerate(gradients):
        expected = torch.from_numpy(_differences(theirs, arrays, place))
        size = float(expected.abs().max())
        torch.testing.assert_close(gradient / size, expected / size, rtol=1e-5, atol=1e-5)


def _differences(
    function: Callable[..., float], arrays: list[np.ndarray], place: int, step: float = 1e-5
) -> np.ndarray:
    slopes = np.zeros_like(arrays[place])
    for cell in np.ndindex(*slopes.shape):
        ends = []
        for side in (step, -step):
            moved = [array.copy() for array in arrays]
            moved[place][cell] += side
            ends.append(function(*moved))
        slopes[cell] = (ends[0] - ends[1]) / (2 * step)
    return slopes
