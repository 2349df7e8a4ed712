"""The progress bar, or a line for each epoch, and how far training is."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar


class Progress(TQDMProgressBar):
    """Lightning's bar with the loss of the last step and the monitored metric.

    Args:
        monitor: the metric, if any.
        every_s: seconds between two looks at the loss, each of which waits for the device.
    """

    def __init__(self, monitor: str | None, every_s: float = 0.5):
        super().__init__()
        self.monitor = monitor
        self.every_s = every_s
        self._looked_s = -math.inf
        self._loss = ""

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What stands behind the bar."""
        shown: dict[str, Any] = {"loss": self._last_loss(pl_module)}
        if self.monitor is not None and self.monitor in trainer.callback_metrics:
            shown[self.monitor] = f"{float(trainer.callback_metrics[self.monitor]):.4g}"
        return {**super().get_metrics(trainer, pl_module), **shown}

    def _last_loss(self, module: Any) -> str:
        now_s = time.monotonic()
        if module.last_loss is not None and now_s - self._looked_s >= self.every_s:
            self._looked_s, self._loss = now_s, f"{float(module.last_loss):.4g}"
        return self._loss


class EpochLines(ProgressBar):
    """A line for each epoch on stderr, where a bar would fill a log with its redrawings.

    Args:
        monitor: the metric, if any.
    """

    def __init__(self, monitor: str | None):
        super().__init__()
        self.monitor = monitor
        self._enabled = True
        self._begun_s = 0.0
        self._validated = False

    def disable(self) -> None:
        """Say nothing, as in all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Say it again."""
        self._enabled = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The epoch's time begins."""
        self._begun_s, self._validated = time.monotonic(), False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What is monitored may be measured in this epoch."""
        self._validated = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what the epoch was like."""
        if not self._enabled:
            return
        shown = ["train/loss"]
        if self.monitor is not None and self.monitor not in shown:
            shown += [self.monitor] if self._validated or self.monitor[:4] != "val/" else []
        metrics = trainer.callback_metrics
        values = [f"{name} {float(metrics[name]):.4g}" for name in shown if name in metrics]
        of = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs - 1}"
        took = f"{time.monotonic() - self._begun_s:.1f} s"
        line = f"xdistill: epoch {trainer.current_epoch}{of}: {', '.join([*values, took])}"
        print(line, file=sys.stderr, flush=True)


def progress_for(monitor: str | None) -> ProgressBar:
    """A bar in a terminal and in a notebook; elsewhere, as in the log of a cluster, lines."""
    if sys.stdout.isatty() or "ipykernel" in sys.modules:
        return Progress(monitor)
    return EpochLines(monitor)


def steps_of_epoch(trainer: L.Trainer) -> int:
    """How often the optimiser steps in an epoch.

    Raises:
        ValueError: the training data has no length.
    """
    batches = trainer.num_training_batches
    if math.isinf(batches):
        raise ValueError(
            "the training loader has no length (an IterableDataset), so nobody knows where an "
            "epoch ends; pass limit_train_batches=N, the number of batches of an epoch"
        )
    return max(1, -(-int(batches) // max(1, trainer.accumulate_grad_batches)))


def steps_of_training(trainer: L.Trainer) -> int:
    """How often the optimiser steps in the whole training.

    Raises:
        ValueError: the training has no end that is known beforehand.
    """
    steps = trainer.estimated_stepping_batches  # Lightning looks at the loader here, not before
    if trainer.max_epochs != -1:
        steps_of_epoch(trainer)
    if math.isinf(steps):
        raise ValueError(
            "a training without end (max_epochs=-1) has no number of steps, which the schedules of "
            "learning rate and losses are stretched over; pass max_steps too, or max_epochs with "
            "max_time: whichever comes first ends it"
        )
    return max(1, int(steps))
