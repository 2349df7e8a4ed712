"""Training: a LightningModule around a Distiller, `fit`, and runs that survive being killed."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import DataLoader, RandomSampler

from xdistill.data.audit import audit
from xdistill.data.paired import PairedDataset
from xdistill.distiller import Distiller
from xdistill.metrics import metric_collection
from xdistill.multi_label import multi_label_metrics
from xdistill.types import PairedBatch

CHECKPOINT = "last.ckpt"

# Lightning warns of what is done here on purpose, and torch of what Lightning still does.
INTENDED = (
    ".*module\\(s\\) in eval mode.*",
    ".*does not have many workers.*",
    ".*treespec, LeafSpec.*",
    ".*have no `val_dataloader`.*",
)


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


def fit(
    distiller: Distiller,
    train_loader: DataLoader,
    val_loader: DataLoader | None = None,
    *,
    max_epochs: int = 30,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
    scheduler: Callable[[Optimizer, int], LRScheduler] | None = None,
    monitor: str = "val/macro_f1",
    mode: str = "max",
    seed: int = 0,
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    check_data: bool = True,
    **trainer_options: Any,
) -> FitResult:
    """Train a distiller with Lightning and leave its student at the best validation epoch.

    A run with a `run_dir` writes `last.ckpt` after every epoch, by a rename, so that a run killed
    at any moment goes on with `resume=True` and ends with the same numbers.

    Args:
        distiller: what to train, in place.
        train_loader: batches of PairedBatch (see `paired_loader`).
        val_loader: batches that choose the epoch; none keeps the last epoch.
        max_epochs: how often the training set is seen.
        lr: peak learning rate of the default optimiser, AdamW.
        weight_decay: that of the default optimiser.
        optimizer: makes another optimiser from the trainable parameters.
        scheduler: makes another schedule, stepped after every batch, from the optimiser and the
            number of steps; warm-up over 5 % of the steps and a cosine to zero by default.
        monitor: the metric that chooses: "val/accuracy", "val/macro_f1" or "val/kappa" (with
            several classes a row "val/micro_f1", "val/macro_f1", "val/weighted_f1" or
            "val/mean_average_precision"), or a training term such as "train/loss".
        mode: "max" or "min".
        seed: every random draw of an epoch follows from it and the epoch's number: dropout,
            augmentation, and the order of a DataLoader that shuffles. `paired_loader` takes its
            order from a seed of its own.
        run_dir: folder for the checkpoint; None keeps everything in memory.
        resume: go on from the checkpoint in `run_dir` if there is one.
        check_data: read every row once before training (see `audit`).
        **trainer_options: anything that `lightning.Trainer` takes: devices, precision, strategy,
            callbacks, logger, gradient_clip_val, enable_progress_bar, …

    Raises:
        FileExistsError: `run_dir` is not empty and `resume` is False.
        FloatingPointError: the training loss became NaN or infinite; the last checkpoint stays.
        ValueError: data that cannot be trained on, or an unknown `monitor`.
    """
    if mode not in ("max", "min"):
        raise ValueError(f"mode must be 'max' or 'min', got {mode!r}")
    checkpoint = prepare_run_dir(run_dir, resume)
    if check_data:
        _audit(distiller, train_loader, val_loader)
    state = RunState(monitor if val_loader is not None else None, mode, checkpoint)
    module = DistillerModule(distiller, lr, weight_decay, optimizer, scheduler)
    ready = checkpoint is not None and checkpoint.exists()
    start = _epochs_done(checkpoint) if checkpoint is not None and ready else 0
    order = EpochOrder(seed, start, train_loader)
    trainer = _trainer(max_epochs, [order, state], trainer_options)
    with warnings.catch_warnings():
        for message in INTENDED:
            warnings.filterwarnings("ignore", message)
        trainer.fit(
            module,
            train_loader,
            val_loader,
            ckpt_path=str(checkpoint) if ready else None,
            weights_only=True,
        )
    return state.finish(distiller.student)


def prepare_run_dir(run_dir: str | os.PathLike[str] | None, resume: bool) -> Path | None:
    """Make the folder of a run and tell where its checkpoint goes.

    Raises:
        FileExistsError: it holds files and `resume` is False.
    """
    if run_dir is None:
        if resume:
            raise ValueError("resume=True needs the run_dir of the run to go on with")
        return None
    folder = Path(run_dir)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give a folder as run_dir")
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise FileExistsError(
            f"run folder {folder} is not empty; choose another, or pass resume=True (--resume) to "
            "go on with that run"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder / CHECKPOINT


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
            make = metric_collection if batch.target.ndim == 1 else multi_label_metrics
            self.metrics = make(outputs.logits.shape[1]).to(self.device)
        logits = outputs.logits.float()
        self.metrics.update(logits if batch.target.ndim == 1 else logits.sigmoid(), batch.target)

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


class EpochOrder(L.Callback):
    """Seeds every epoch by itself, so that it does not matter in which process it runs."""

    def __init__(self, seed: int, start: int, loader: DataLoader):
        self.seed = seed
        self.loader = loader
        # Order and worker seeds draw from generators of their own: Lightning makes the iterator of
        # a run's first epoch before that epoch's hook, and those of later epochs after it.
        loader.generator = torch.Generator()
        if isinstance(loader.sampler, RandomSampler):
            loader.sampler.generator = torch.Generator()
        self._seed_loader(start)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed all random numbers of this epoch."""
        seed = self._epoch_seed(trainer.current_epoch)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        self._seed_loader(trainer.current_epoch)

    def _seed_loader(self, epoch: int) -> None:
        sampler = self.loader.sampler
        for generator in (self.loader.generator, getattr(sampler, "generator", None)):
            if isinstance(generator, torch.Generator):
                generator.manual_seed(self._epoch_seed(epoch))
        set_epoch = getattr(sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)

    def _epoch_seed(self, epoch: int) -> int:
        return int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])


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
            partial = self.checkpoint.with_suffix(".partial")
            trainer.save_checkpoint(partial)
            if trainer.is_global_zero:
                os.replace(partial, self.checkpoint)

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


def _trainer(max_epochs: int, own: list[L.Callback], options: dict[str, Any]) -> L.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    devices = options.get("devices", "auto")
    one = torch.cuda.device_count() < 2 if devices == "auto" else devices in (1, "1", [0])
    if not one:
        # Which heads take part depends on labels and on valid rows of the batch.
        quiet["strategy"] = "ddp_find_unused_parameters_true"
    callbacks = [*own, *(options.get("callbacks") or [])]
    return L.Trainer(**{**quiet, **options, "callbacks": callbacks, "max_epochs": max_epochs})


def _epochs_done(checkpoint: Path) -> int:
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ValueError(
            f"checkpoint {checkpoint} cannot be read ({error}); delete it to start that run anew"
        ) from error
    return int(state["epoch"]) + 1


def _audit(distiller: Distiller, train: DataLoader, val: DataLoader | None) -> None:
    """Find bad rows before any training; rows without a usable teacher are marked in place."""
    student = str(distiller.student.modality)
    for name, loader in (("train", train), ("val", val)):
        dataset = None if loader is None else loader.dataset
        if isinstance(dataset, PairedDataset):
            teachers = tuple(distiller.teachers) if name == "train" else ()
            optional = tuple(one for one in teachers if one not in dataset.cached)
            checked = audit(dataset, required=(student,), optional=optional, name=name)
            dataset.valid = checked.valid
