"""Losses whose weight changes during training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from xdistill.losses.parts.loss import Loss

Shape = Literal["linear", "cosine"]


def linear(fraction: int | float) -> float:
    """0 to 1 at a constant rate."""
    return min(max(fraction, 0.0), 1.0)


def cosine(fraction: int | float) -> float:
    """0 to 1 along half a cosine: slow at both ends."""
    return 0.5 - 0.5 * math.cos(math.pi * linear(fraction))


SHAPES: dict[str, Callable[[float], float]] = {"linear": linear, "cosine": cosine}


class Scheduled(Loss):
    """A loss times a factor that moves from `start` to `end` as training goes on.

    `set_progress` sets how far training is; `fit` calls it at every step. Until the first call the
    factor is `start`. The factor is a buffer: it is saved with the `state_dict`, and a compiled
    loss is not recompiled when it changes. `terms` hold the values without it.

    Args:
        loss: the loss.
        start: factor before `begin`.
        end: factor after `until`.
        begin: where the change begins, in epochs or as a share of the training.
        until: where it ends, in the same unit.
        unit: "epochs" or "training".
        shape: "linear" or "cosine".

    Raises:
        ValueError: an unknown unit or shape, or an end before the beginning.
    """

    shared_space = False
    composite = True
    factor: Tensor
    started: Tensor

    def __init__(
        self,
        loss: Loss,
        start: int | float,
        end: int | float,
        begin: int | float,
        until: int | float,
        unit: Literal["epochs", "training"],
        shape: Shape = "linear",
    ):
        super().__init__()
        if shape not in SHAPES:
            raise ValueError(f"shape must be one of {sorted(SHAPES)}, got {shape!r}")
        if unit not in ("epochs", "training"):
            raise ValueError(f'unit must be "epochs" or "training", got {unit!r}')
        if not 0 <= begin <= until:
            raise ValueError(
                f"a schedule needs 0 <= begin <= until, got {begin} to {until} ({unit})"
            )
        self.loss = loss
        self.start, self.end = float(start), float(end)
        self.begin, self.until = float(begin), float(until)
        self.unit = unit
        self.shape = shape
        self.mutual = loss.mutual
        self.register_buffer("factor", torch.tensor(self.start))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self._warned = False

    @property
    def label(self) -> str:
        return self.loss.label

    def set_progress(
        self, step: int | float, total: int | float, steps_per_epoch: int | float = 1
    ) -> None:
        super().set_progress(step, total, steps_per_epoch)
        if step < 0 or total <= 0 or steps_per_epoch <= 0:
            raise ValueError(
                "set_progress expects step >= 0, total > 0 and steps_per_epoch > 0, got "
                f"{step}, {total} and {steps_per_epoch}"
            )
        place = step / (steps_per_epoch if self.unit == "epochs" else total)
        self.factor.fill_(self.factor_at(place))
        self.started.fill_(True)

    def factor_at(self, place: int | float) -> float:
        """The factor at a place in training, in the schedule's own unit."""
        span = self.until - self.begin
        done = float(place >= self.until) if span == 0 else (place - self.begin) / span
        return self.start + (self.end - self.start) * SHAPES[self.shape](done)

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        if not torch.compiler.is_compiling():
            self._warn_once()
        value = self.loss(student, teacher, target, valid=valid, index=index)
        self.terms = self.loss.terms
        return self.factor.to(value.dtype) * value

    def _warn_once(self) -> None:
        if (
            self.training
            and not self._warned
            and self.started.device.type == "cpu"
            and not self.started
        ):
            self._warned = True
            warnings.warn(
                f"the schedule of {self.label} does not know how far training is and stays at its "
                f"start, {self.start:g}; call loss.set_progress(step, total) in your loop "
                "(`fit` does)",
                stacklevel=2,
            )

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        self.loss.bind(student, teacher, num_classes, num_samples)
        return self

    def leaves(self) -> Iterator[Loss]:
        yield from self.loss.leaves()

    def extra_repr(self) -> str:
        return f"{self.start:g} → {self.end:g} from {self.begin:g} to {self.until:g} {self.unit}"


def warmup(loss: Loss, epochs: int | float, *, shape: Shape = "linear") -> Scheduled:
    """The loss, its weight growing from 0 to 1 over the first epochs.

    In a loop of your own call `set_progress` on the whole loss: `loss.set_progress(epoch,
    max_epochs)` in each epoch, or in each step with `steps_per_epoch=len(loader)`.

    Args:
        loss: any loss or sum of losses.
        epochs: how long the weight grows.
        shape: "linear" or "cosine".
    """
    return Scheduled(loss, 0.0, 1.0, 0.0, epochs, "epochs", shape)


def ramp(
    loss: Loss,
    start: int | float = 0.0,
    end: int | float = 1.0,
    *,
    begin: int | float = 0.0,
    until: int | float = 1.0,
    shape: Shape = "linear",
) -> Scheduled:
    """The loss, its weight moving from `start` to `end` over a part of the training.

    Args:
        loss: any loss or sum of losses.
        start: factor at `begin` and before.
        end: factor at `until` and after. Below `start` the loss fades out.
        begin: where the change begins, as a share of the training, 0 to 1.
        until: where it ends, as a share of the training, 0 to 1.
        shape: "linear" or "cosine".
    """
    if until > 1:
        raise ValueError(f"ramp: until is a share of the training, 0 to 1, got {until}")
    return Scheduled(loss, start, end, begin, until, "training", shape)
