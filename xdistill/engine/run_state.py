"""What a run has seen so far: its history, its best student, and the checkpoint with both."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import Tensor, distributed, nn

from xdistill.engine.monitor import Mode, Monitor

Weights = dict[str, Any]


@dataclass(frozen=True)
class FitResult:
    """What a training run leaves, beside the trained modules themselves.

    Attributes:
        history: one row per epoch with the mean of each training term and the validation metrics
            that were measured in that epoch.
        best_epoch: the epoch whose student was kept; the last one where nothing is monitored.
        best_value: the monitored metric of the student that was kept; NaN where nothing measured
            it.
        monitor: the metric that chose the student, None where nothing was monitored.
        mode: whether "max" or "min" of it is the best.
        interrupted: Ctrl-C ended the run; the student is the best so far.
    """

    history: list[dict[str, float]]
    best_epoch: int
    best_value: float
    monitor: str | None = None
    mode: Mode = "max"
    interrupted: bool = False


class RunState(L.Callback):
    """The history and the best student, kept in memory and, with all else, in the checkpoint.

    It has to be the first callback: a student is kept as it was validated, before a callback that
    averages weights swaps them back.

    Args:
        monitor: the metric that chooses.
        made_with: what the run is made with, in words, for whoever wants to go on with it.
        limits: max_epochs and max_steps of the run.
    """

    def __init__(self, monitor: Monitor, made_with: Mapping[str, str], limits: tuple[int, int]):
        self.monitor = monitor
        self.made_with = dict(made_with)
        self.limits = limits
        self.rescheduled = False
        self.history: list[dict[str, float]] = []
        self.best_epoch = -1
        self.best_value = math.nan
        self.best_student: Weights = {}
        self.stopped = False
        self.averaged_when_validated = False
        self._measured: dict[str, float] = {}
        self._validated: Weights = {}
        self._before_the_end: Weights = {}
        self._averages = False
        self._steps_done = 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        kept = ("made_with", "history", "best_epoch", "best_value", "best_student", "stopped")
        of_run = {name: getattr(self, name) for name in (*kept, "averaged_when_validated")}
        return {**of_run, "limits": list(self.limits)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, within the limits of now."""
        self.__dict__.update({**state_dict, "limits": self.limits})

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Leave the schedule of a run with other limits out: this one has its own."""
        if self.rescheduled:
            schedules = checkpoint["lr_schedulers"]
            self._steps_done = schedules[0]["last_epoch"] if schedules else 0
            checkpoint["lr_schedulers"] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring a schedule that was stretched or shortened to where the run stands.

        The optimiser comes back with the last rate of the other schedule, often 0, and would take
        its first step with it.
        """
        if not self.rescheduled:
            return
        for schedule in (config.scheduler for config in trainer.lr_scheduler_configs):
            rates = zip(schedule.optimizer.param_groups, schedule.get_last_lr(), strict=True)
            for group, rate in rates:
                group["lr"] = rate
            with warnings.catch_warnings():  # torch wants a step of the optimiser before each
                warnings.simplefilter("ignore", UserWarning)
                for _ in range(self._steps_done):
                    schedule.step()  # type: ignore[call-arg]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Nothing is measured yet in this epoch."""
        self._measured = {}

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate one student on all ranks: DDP leaves each its own statistics of a BatchNorm."""
        if trainer.training or trainer.validating:
            share_buffers(student_of(pl_module), trainer.world_size)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the student as it was validated."""
        self._validated = weights_of(student_of(pl_module))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge the student that was validated."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn == "fit":
            now = weights_of(student_of(pl_module))
            self.averaged_when_validated |= not same_weights(now, self._validated)
        measured = {name: float(one) for name, one in trainer.callback_metrics.items()}
        self._measured = {name: one for name, one in measured.items() if name.startswith("val/")}
        if self.monitor.validated:
            self._judge(trainer, self._measured, self._validated)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the epoch."""
        share_buffers(student_of(pl_module), trainer.world_size)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        trained = {name: one for name, one in metrics.items() if not name.startswith("val/")}
        row = {"epoch": trainer.current_epoch, **trained, **self._measured}
        self.history.append(row)
        if self.monitor.name is None:
            self.best_epoch, self.best_student = row["epoch"], weights_of(student_of(pl_module))
        elif not self.monitor.validated:
            self._judge(trainer, row, weights_of(student_of(pl_module)))

    def _judge(self, trainer: L.Trainer, measured: dict[str, float], student: Weights) -> None:
        """Keep a student that is better than the best so far."""
        name, epoch = str(self.monitor.name), trainer.current_epoch
        if name not in measured:
            raise ValueError(
                f"monitor={name!r} is not logged; logged are {sorted(measured)}. Validation rows "
                "without a label measure no class metric, and a student without a classifier is "
                "measured by 'val/recall@1', 'val/recall@5' and 'val/probe_accuracy'"
            )
        if math.isnan(measured[name]):
            raise ValueError(
                f"{name} is not defined on these validation rows (NaN in epoch {epoch}): kappa "
                "needs two classes, a linear probe two labelled groups. Monitor another metric, or "
                f"validate on other rows; logged are {sorted(measured)}"
            )
        better = self.monitor.better(measured[name], self.best_value)
        if trainer.strategy.broadcast(better):  # one rank decides
            self.best_epoch, self.best_value = epoch, measured[name]
            self.best_student = student

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the student as it is before other callbacks' last word."""
        self._before_the_end = weights_of(student_of(pl_module))
        self._averages = any(
            isinstance(one, StochasticWeightAveraging)
            for one in trainer.callbacks  # type: ignore[attr-defined]
        )

    def left_by_callbacks(self, student: nn.Module) -> bool:
        """Whether a callback ended the run with weights of its own that are not yet measured.

        They are kept, and replace the best student; those of a callback that averages weights for
        validation, too, were measured and judged every time.
        """
        if self.averaged_when_validated or not self._before_the_end:
            return False
        return self._averages or not same_weights(weights_of(student), self._before_the_end)

    def keep(self, student: nn.Module, measured: Mapping[str, float]) -> None:
        """Keep the student as it is, with what was measured of it."""
        self.best_student = weights_of(student)
        self.best_epoch = int(self.history[-1]["epoch"]) if self.history else -1
        self.best_value = measured.get(str(self.monitor.name), math.nan)
        if math.isnan(self.best_value) and self.monitor.name is not None:
            warnings.warn(
                f"a callback left an averaged student, of which {self.monitor.name} was not "
                "measured: training measures it of the weights before; pass a val_loader and "
                "monitor a metric of validation",
                stacklevel=3,
            )

    def finish(self, student: nn.Module, interrupted: bool = False) -> FitResult:
        """Give the student its best weights."""
        last = int(self.history[-1]["epoch"]) if self.history else -1
        if self.best_student:
            student.load_state_dict(self.best_student)
        elif self.monitor.name is not None and not interrupted:
            warnings.warn(
                f"{self.monitor.name} was never measured in this run; the student is that of its "
                "last step",
                stacklevel=3,
            )
        epoch = int(self.best_epoch if self.best_student else last)
        return FitResult(
            self.history, epoch, self.best_value, self.monitor.name, self.monitor.mode, interrupted
        )


def student_of(module: L.LightningModule) -> nn.Module:
    """The student of a DistillerModule."""
    return module.distiller.student  # type: ignore[union-attr,return-value]


def weights_of(module: nn.Module) -> Weights:
    """A copy of a module's state on the CPU."""
    return {
        name: one.detach().cpu().clone() if isinstance(one, Tensor) else copy.deepcopy(one)
        for name, one in module.state_dict().items()
    }


def same_weights(one: Weights, other: Weights) -> bool:
    """Whether two copies are equal bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]
        for name, value in one.items()
    )


def share_buffers(module: nn.Module, world_size: int) -> None:
    """Give all ranks the buffers of the first."""
    if world_size > 1 and distributed.is_initialized():
        for buffer in module.buffers():
            distributed.broadcast(buffer, src=0)
