"""Training: a Lightning loop around a Distiller, and runs that survive being killed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from xdistill.data.audit import audit
from xdistill.data.paired import PairedDataset
from xdistill.distiller import Distiller
from xdistill.engine.epoch_order import EpochOrder
from xdistill.engine.module import DistillerModule
from xdistill.engine.run_dir import epochs_done, one_run_at_a_time, prepare_run_dir
from xdistill.engine.run_state import FitResult, RunState

# Lightning warns of what is done here on purpose, and torch of what Lightning still does.
INTENDED = (
    ".*module\\(s\\) in eval mode.*",
    ".*does not have many workers.*",
    ".*treespec, LeafSpec.*",
    ".*have no `val_dataloader`.*",
)


@one_run_at_a_time
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
        FileExistsError: `run_dir` is not empty and `resume` is False, or another run is in it.
        FloatingPointError: the training loss became NaN or infinite; the last checkpoint stays.
        ValueError: data that cannot be trained on, or an unknown `monitor`.
    """
    if mode not in ("max", "min"):
        raise ValueError(f"mode must be 'max' or 'min', got {mode!r}")
    checkpoint = prepare_run_dir(run_dir, resume)
    state = RunState(monitor if val_loader is not None else None, mode, checkpoint)
    module = DistillerModule(distiller, lr, weight_decay, optimizer, scheduler)
    ready = checkpoint is not None and checkpoint.exists()
    start = epochs_done(checkpoint) if checkpoint is not None and ready else 0
    order = EpochOrder(seed, start, train_loader)
    trainer = _trainer(max_epochs, [order, state], trainer_options)
    rows = audited(distiller, train_loader, val_loader) if check_data else nullcontext()
    with rows, order.of_loader(), warnings.catch_warnings():
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


@contextmanager
def audited(distiller: Distiller, train: DataLoader, val: DataLoader | None) -> Iterator[None]:
    """Find bad rows before any training, and train without them.

    Rows whose teacher's signal holds NaN or infinity are marked in the datasets while the context
    lasts (`audit` counts them in a warning); afterwards the datasets are the caller's again, as
    they were.
    """
    student = str(distiller.student.modality)
    given: list[tuple[PairedDataset, dict[str, Tensor]]] = []
    for name, loader in (("train", train), ("val", val)):
        dataset = None if loader is None else loader.dataset
        if isinstance(dataset, PairedDataset):
            teachers = tuple(distiller.teachers) if name == "train" else ()
            optional = tuple(one for one in teachers if one not in dataset.cached)
            checked = audit(dataset, required=(student,), optional=optional, name=name)
            given.append((dataset, dataset.valid))
            dataset.valid = checked.valid
    try:
        yield
    finally:
        for dataset, valid in reversed(given):
            dataset.valid = valid
