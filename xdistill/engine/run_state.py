"""What a run has seen so far: its history, its best student, and the checkpoint with both."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import StochasticWeightAveraging

from xdistill.distiller import Distiller
from xdistill.engine.monitor import Mode, Monitor
from xdistill.engine.weights import Kept, Weights, is_kept, kept_of, restore, share_statistics


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
        self.best_beside: Weights = {}
        self.stopped = False
        self.averaged_when_validated = False
        self._measured: dict[str, float] = {}
        self.left_by_a_callback = False
        self._validated: Kept | None = None
        self._before_the_end: Kept | None = None
        self._averages = False
        self._steps_done = 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        kept = ("made_with", "history", "best_epoch", "best_value", "best_student", "best_beside")
        flags = ("stopped", "averaged_when_validated", "left_by_a_callback")
        of_run = {name: getattr(self, name) for name in (*kept, *flags)}
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
        """Validate one student on all ranks."""
        if trainer.training or trainer.validating:
            share_statistics(distiller_of(pl_module), trainer.world_size)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the weights as they were validated."""
        self._validated = kept_of(distiller_of(pl_module))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge the student that was validated."""
        if trainer.sanity_checking or self._validated is None:
            return
        if trainer.state.fn == "fit" and not self.averaged_when_validated:
            self.averaged_when_validated = not is_kept(distiller_of(pl_module), self._validated)
        measured = {name: float(one) for name, one in trainer.callback_metrics.items()}
        self._measured = {name: one for name, one in measured.items() if name.startswith("val/")}
        if self.monitor.validated:
            self._judge(trainer, self._measured, self._validated)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the epoch."""
        distiller = distiller_of(pl_module)
        share_statistics(distiller, trainer.world_size)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        trained = {name: one for name, one in metrics.items() if not name.startswith("val/")}
        row = {"epoch": trainer.current_epoch, **trained, **self._measured}
        self.history.append(row)
        if self.monitor.name is None:
            self.best_epoch = row["epoch"]
            self.best_student, self.best_beside = kept_of(distiller)
        elif not self.monitor.validated:
            self._judge(trainer, row, kept_of(distiller))

    def _judge(self, trainer: L.Trainer, measured: dict[str, float], weights: Kept) -> None:
        """Keep a student that is better than the best so far, with what trained beside it."""
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
            self.best_student, self.best_beside = weights

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the student as it is before other callbacks' last word."""
        self._before_the_end = kept_of(distiller_of(pl_module))
        self._averages = any(
            isinstance(one, StochasticWeightAveraging)
            for one in trainer.callbacks  # type: ignore[attr-defined]
        )

    def left_by_callbacks(self, distiller: Distiller) -> bool:
        """Whether a callback ended the run with weights of its own that are not yet measured.

        They are kept, and replace the best student; those of a callback that averages weights for
        validation, too, were measured and judged every time.
        """
        if self.averaged_when_validated or self._before_the_end is None:
            return False
        return self._averages or not is_kept(distiller, self._before_the_end)

    def keep(self, distiller: Distiller, measured: Mapping[str, float]) -> None:
        """Keep the weights as a callback left them, with what was measured of the student."""
        self.left_by_a_callback = True
        self.best_student, self.best_beside = kept_of(distiller)
        self.best_epoch = int(self.history[-1]["epoch"]) if self.history else -1
        self.best_value = measured.get(str(self.monitor.name), math.nan)
        if math.isnan(self.best_value) and self.monitor.name is not None:
            warnings.warn(
                f"a callback left an averaged student, of which {self.monitor.name} was not "
                "measured: training measures it of the weights before; pass a val_loader and "
                "monitor a metric of validation",
                stacklevel=3,
            )

    def finish(self, distiller: Distiller, interrupted: bool = False) -> FitResult:
        """Give the student, and what trains beside it, the weights of the chosen epoch."""
        last = int(self.history[-1]["epoch"]) if self.history else -1
        if self.best_student:
            restore(distiller, Kept(self.best_student, self.best_beside))
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


def distiller_of(module: L.LightningModule) -> Distiller:
    """The distiller of a DistillerModule."""
    return module.distiller  # type: ignore[return-value]
