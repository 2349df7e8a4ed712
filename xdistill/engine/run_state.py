"""What a run has seen so far: its history, its best student, and the checkpoint with both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch import Tensor, nn

from xdistill.engine.run_dir import write_checkpoint


@dataclass(frozen=True)
class FitResult:
    """What a training run leaves, beside the trained modules themselves.

    Attributes:
        history: one row per epoch with the mean of each training term and the validation metrics.
        best_epoch: the epoch whose student was kept; the last one without a validation loader.
        best_value: the monitored metric in that epoch.
    """

    history: list[dict[str, float]]
    best_epoch: int
    best_value: float


class RunState(L.Callback):
    """The history and the best student, kept in memory and, with all else, in the checkpoint."""

    def __init__(self, monitor: str | None, mode: str, checkpoint: Path | None):
        self.monitor = monitor
        self.mode = mode
        self.checkpoint = checkpoint
        self.history: list[dict[str, float]] = []
        self.best_epoch = -1
        self.best_value = float("nan")
        self.best_student: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_student": self.best_student,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.__dict__.update(state_dict)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the epoch, keep the student if it is the best so far, write the checkpoint."""
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epoch = trainer.current_epoch
        if not np.isfinite(row.get("train/loss", 0.0)):
            raise FloatingPointError(
                f"the training loss is {row['train/loss']} in epoch {epoch}; lower lr, clip "
                "gradients (gradient_clip_val=1.0) or use precision='32'. The checkpoint of the "
                "epoch before is kept."
            )
        self.history.append({"epoch": epoch, **row})
        value = self._monitored(row, epoch)
        if self._better(value):
            student = pl_module.distiller.student  # type: ignore[union-attr]
            self.best_epoch, self.best_value = epoch, value
            self.best_student = {
                name: tensor.detach().cpu().clone()
                for name, tensor in student.state_dict().items()  # type: ignore[union-attr]
            }
        if self.checkpoint is not None:
            write_checkpoint(trainer, self.checkpoint)

    def _monitored(self, row: dict[str, float], epoch: int) -> float:
        if self.monitor is None:
            return float(epoch)
        if self.monitor not in row and not any(name.startswith("val/") for name in row):
            return float("nan")  # no validation yet, as with check_val_every_n_epoch=2
        if self.monitor not in row:
            raise ValueError(f"monitor={self.monitor!r} is not logged; logged are {sorted(row)}")
        return row[self.monitor]

    def _better(self, value: float) -> bool:
        if self.monitor is None or np.isnan(self.best_value):
            return True
        return value > self.best_value if self.mode == "max" else value < self.best_value

    def finish(self, student: nn.Module) -> FitResult:
        """Give the student its best weights."""
        if self.best_student:
            student.load_state_dict(self.best_student)
        return FitResult(self.history, self.best_epoch, self.best_value)
