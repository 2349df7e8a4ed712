"""What Lightning drives: a LightningModule around a Distiller, and the schedule of its rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from xdistill.distiller import Distiller
from xdistill.metrics_for import metrics_for
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
        self.metrics = None

    def training_step(self, batch: PairedBatch, step: int) -> Tensor:
        """The loss of a batch."""
        self._tell_progress()
        out = self.distiller(batch)
        values = {"train/loss": out.loss.detach()}
        values |= {f"train/{name}": value for name, value in out.terms.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(batch))
        return out.loss

    def _tell_progress(self) -> None:
        trainer = self.trainer
        accumulated = max(1, trainer.accumulate_grad_batches)
        steps_per_epoch = max(1, -(-int(trainer.num_training_batches) // accumulated))
        total = max(1, int(trainer.estimated_stepping_batches))
        self.distiller.set_progress(trainer.global_step, total, steps_per_epoch)

    def validation_step(self, batch: PairedBatch, step: int) -> None:
        """Add a batch to the student's metrics."""
        student = self.distiller.student
        outputs = student(batch.inputs[student.modality])  # type: ignore[index]
        if outputs.logits is None:
            raise ValueError("validation needs a student with a classifier; give it num_classes")
        if self.metrics is None:
            # Made here, because an encoder need not tell its number of classes in advance.
            made = metrics_for(outputs.logits, batch.target, self.distiller.losses)
            self.metrics = made.to(self.device)
        self.metrics.update(outputs.logits, batch.target_of(str(student.modality)))

    def on_validation_epoch_end(self) -> None:
        """Log the scalar metrics; the others belong into the final report."""
        if self.metrics is None:
            return
        for name, value in self.metrics.compute().items():
            if value.ndim == 0:
                self.log(f"val/{name}", torch.nan_to_num(value.float()))
        self.metrics.reset()

    def configure_optimizers(self) -> Any:
        """AdamW and warm-up with a cosine, or what the caller makes."""
        parameters = [p for p in self.distiller.parameters() if p.requires_grad]
        if self.make_optimizer is None:
            optimizer = torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)
        else:
            optimizer = self.make_optimizer(parameters)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        make = self.make_scheduler or warmup_cosine
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": make(optimizer, steps), "interval": "step"},
        }


def warmup_cosine(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Linear warm-up over the first 5 % of the steps, then a half cosine down to zero."""
    warmup = max(1, steps // 20)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 0.5 * (1.0 + float(np.cos(np.pi * progress)))

    return LambdaLR(optimizer, factor)
