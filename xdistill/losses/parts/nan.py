"""NaN stays NaN: no comparison, mask or clamp inside a loss may turn it into a number."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.types import Outputs


def carry_nan(
    value: Float[Tensor, ""],
    reads: Collection[str],
    outputs: tuple[Outputs, ...],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """`value`, or NaN (and a gradient of NaN) where an input that the loss reads holds a NaN.

    A hinge, a clamp or a comparison with a threshold maps NaN to a number, so that a training whose
    teacher or student has broken down would go on. Nothing here waits for the device.

    Args:
        value: the loss.
        reads: the parts of the outputs that the loss reads.
        outputs: of student and teacher.
        valid: [B] the rows that count; others may hold NaN.
    """
    for one in outputs:
        for tensor in _read(one, reads):
            largest = tensor.detach().flatten(1).amax(dim=1)  # [B]; amax keeps a NaN
            bad = largest.isnan()
            bad = bad if valid is None else bad & valid.to(bad.device)
            value = value * torch.where(bad.any(), torch.nan, 1.0).to(value.dtype)
    return value


def _read(outputs: Outputs, reads: Collection[str]) -> Iterator[Tensor]:
    named = {"embedding": [outputs.embedding], "logits": [outputs.logits]}
    named["hidden"] = list(outputs.hidden.values())
    for part, tensors in named.items():
        for tensor in tensors if part in reads else ():
            if tensor is not None and tensor.is_floating_point() and tensor.numel():
                yield tensor
