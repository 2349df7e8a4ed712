"""A night as a student sees it: one row for each epoch, on the night's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class NightRows(NamedTuple):
    """The E epochs of one night in order; no epoch of another night is among them.

    Attributes:
        night: its name.
        subject: who slept.
        rows: [E, D + K] embedding and logits of the student; zeros in epochs that it does not see.
        valid: [E] which epochs it sees.
        target: [E] stages, -1 where there is none to learn or to be judged by.
        teacher: [E, K] the teacher's probabilities, NaN where it has none; None without teacher.
    """

    night: str
    subject: str
    rows: Float[Tensor, "e d"]
    valid: Bool[Tensor, " e"]
    target: Int64[Tensor, " e"]
    teacher: Float[Tensor, "e k"] | None = None

    def probabilities(self, classes: int) -> Float[Tensor, "e k"]:
        """The student's own probabilities of each epoch, NaN where it sees none."""
        own = self.rows[:, -classes:].softmax(dim=1)
        return torch.where(self.valid[:, None], own, torch.nan)


def class_counts(nights: Sequence[NightRows], classes: int) -> Float[Tensor, " k"]:
    """How many labelled epochs of each class there are."""
    target = torch.cat([night.target for night in nights])
    return torch.bincount(target[target >= 0], minlength=classes).float()


def log_loss(nights: Sequence[NightRows], found: Sequence[Float[Tensor, "e k"]]) -> float:
    """Mean −log p of the stages of all epochs that have one and are seen.

    Raises:
        ValueError: there is no such epoch.
    """
    losses = []
    for night, probabilities in zip(nights, found, strict=True):
        known = night.valid & (night.target >= 0)
        p = probabilities[known].gather(1, night.target[known][:, None])
        losses.append(-p.clamp(min=1e-6).log().flatten())
    every = torch.cat(losses)
    if not len(every):
        raise ValueError("no epoch is both seen and labelled, so nothing can be compared")
    return float(every.mean())
