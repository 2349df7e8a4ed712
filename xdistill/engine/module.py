"""What Lightning drives: a LightningModule around a Distiller."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from xdistill.distiller import Distiller
from xdistill.engine.guard import Guard
from xdistill.engine.optimizer import decay_groups, warmup_cosine
from xdistill.engine.progress import steps_of_epoch, steps_of_training
from xdistill.engine.rows_once import RowsOnce
from xdistill.engine.validation import Validation, answer
from xdistill.types import PairedBatch


class DistillerModule(L.LightningModule):
    """What Lightning drives: steps, metrics, optimiser and schedule of a Distiller."""

    def __init__(
        self,
        distiller: Distiller,
        lr: float,
        weight_decay: float,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer, int], LRScheduler] | None = None,
    ):
        super().__init__()
        self.distiller = distiller
        self.lr = lr
        self.weight_decay = weight_decay
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.guard = Guard()
        self.validation = Validation(distiller)
        self.rows_once = RowsOnce()
        self.last_loss: Tensor | None = None
        self.optimizer_stepped = False

    def training_step(self, batch: PairedBatch, step: int) -> Tensor:
        """The loss of a batch."""
        progress = steps_of_training(self.trainer), steps_of_epoch(self.trainer)
        self.distiller.set_progress(self.trainer.global_step, *progress)
        self.validation.resting.update(batch.cached)
        out = self.distiller(batch)
        self.guard.look(self.place(), batch, out)
        loss = self.last_loss = out.loss.detach()
        self._log_means("train", {"loss": loss, **out.terms}, batch)
        return out.loss

    def place(self) -> str:
        """Which step this is, for messages."""
        return f"step {self.trainer.global_step} (epoch {self.trainer.current_epoch})"

    def on_validation_epoch_start(self) -> None:
        """No row of this epoch is scored yet."""
        self.rows_once.begin()

    def validation_step(self, batch: PairedBatch, step: int) -> None:
        """Add a batch to the student's metrics, and log its loss where that is defined."""
        found = answer(self.distiller, batch, self.validation.resting)
        loader = self.trainer.val_dataloaders
        self.validation.update(self.rows_once.once(batch, loader), found)
        self._log_means("val", found.values, batch)

    def _log_means(self, part: str, values: dict[str, Tensor], batch: PairedBatch) -> None:
        named = {f"{part}/{name}": value for name, value in values.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log the scalar metrics; the others belong into the final report."""
        strategy = self.trainer.strategy
        measured = self.validation.compute(lambda one: strategy.reduce(one, reduce_op="sum"))
        for name, value in measured.items():
            self.log(f"val/{name}", value, sync_dist=True)  # the same on all ranks

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """No checkpoint of a student of NaN."""
        self.guard.read(self.trainer, self)

    def configure_optimizers(self) -> Any:
        """AdamW and warm-up with a cosine, or what the caller makes."""
        parameters = [p for p in self.distiller.parameters() if p.requires_grad]
        if self.make_optimizer is None:
            if any(parameter.dtype == torch.float16 for parameter in parameters):
                raise ValueError(
                    "precision='16-true' turns the default optimiser's ε of 1e-8 into 0, and then "
                    "weights into NaN; use '16-mixed' or 'bf16-true', or pass an optimizer for it"
                )
            groups = decay_groups(self.distiller, self.weight_decay)
            optimizer = torch.optim.AdamW(groups, lr=self.lr)
        else:
            optimizer = self.make_optimizer(parameters)
        optimizer.register_step_post_hook(self._count_step)
        make = self.make_scheduler or warmup_cosine
        schedule = make(optimizer, steps_of_training(self.trainer))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _count_step(self, *_: Any) -> None:
        self.optimizer_stepped = True

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the schedule, unless a scaler (precision="16-mixed") left out the optimiser's step.

        It does so at the first steps, until the loss scale is small enough.
        """
        if self.optimizer_stepped:
            super().lr_scheduler_step(scheduler, metric)
        self.optimizer_stepped = False
