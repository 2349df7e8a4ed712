"""Predicted values against a target whose unknown entries are NaN."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def known_values(
    loss: str, values: Float[Tensor, "b k"], target: Float[Tensor, "b ..."]
) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k"], Bool[Tensor, "b k"]]:
    """Values and target [B, K], both 0 where the target is NaN, and where it is not.

    Args:
        loss: for the message.
        values: what the student predicts, its logits.
        target: [B, K], or [B] where K is 1.

    Raises:
        ValueError: the shapes differ.
    """
    wanted = target[:, None] if target.ndim == 1 else target
    if wanted.shape != values.shape:
        raise ValueError(
            f"{loss} compares {list(values.shape)} values (the student's logits) with a target of "
            f"{list(target.shape)}, expected one value each; create the student with num_classes="
            f"{wanted.shape[-1]}"
        )
    known = ~wanted.isnan()
    zeros = torch.zeros_like(values)
    return (
        torch.where(known, values, zeros),
        torch.where(known, wanted.to(values.dtype), zeros),
        known,
    )
