"""Training: a Lightning loop around a Distiller, and runs that survive being killed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from xdistill.data.audit import audit
from xdistill.data.checked import Given, check_loader, check_same_classes
from xdistill.data.paired import PairedDataset
from xdistill.data.unpaired import UnpairedCollate
from xdistill.distiller import Distiller
from xdistill.engine.arguments import check_arguments
from xdistill.engine.averaged_at_end import an_epoch_is_left, lacks_average, load_end
from xdistill.engine.console import own_interrupts, quiet_lightning, say_interrupted, say_start
from xdistill.engine.epoch_order import EpochOrder
from xdistill.engine.made_with import TRAINER, check_made_with, made_with
from xdistill.engine.module import DistillerModule
from xdistill.engine.monitor import Mode, chosen_monitor
from xdistill.engine.over_ranks import over_ranks
from xdistill.engine.precision import precision_of_networks
from xdistill.engine.run_dir import one_run_at_a_time, prepare_run_dir
from xdistill.engine.run_state import FitResult, RunState
from xdistill.engine.saving import Saving, read_saved, rewrite_state
from xdistill.engine.trainer_options import checked_options

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
    monitor: str | None = None,
    mode: Mode | None = None,
    seed: int = 0,
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    check_data: bool = True,
    **trainer_options: Any,
) -> FitResult:
    """Train a distiller with Lightning and leave it at the best validation epoch.

    The student gets the weights of that epoch, as do projectors and critics of the losses and what
    trains of the teachers. Memory banks stay as they are.

    A run with a `run_dir` writes `last.ckpt` after every epoch, by a rename, so that a run killed
    at any moment goes on with `resume=True` and ends with the same numbers. A run that has ended,
    by a limit, a callback or `max_time`, returns its result when it is resumed; with more
    `max_epochs` or `max_steps` than it had it goes on, on the schedule of the longer run. It is
    not continued with another loss, rate, seed, batch size or other data.

    Weights that a callback averages are those that are validated, kept and left. What a callback
    leaves at the end of training (StochasticWeightAveraging) is validated once more, and stays.

    Ctrl-C ends the run with the best student so far.

    Args:
        distiller: what to train, in place.
        train_loader: batches of PairedBatch (see `paired_loader`).
        val_loader: batches that choose the epoch; without them, and without a training term as
            `monitor`, the last epoch is kept.
        max_epochs: how often the training set is seen; -1 for no limit but `max_steps`.
        lr: peak learning rate of the default optimiser, AdamW.
        weight_decay: that of the default optimiser, for matrices and kernels alone.
        optimizer: makes another optimiser from the trainable parameters.
        scheduler: makes another schedule, stepped after every batch, from the optimiser and the
            number of steps; warm-up over 5 % of the steps and a cosine to zero by default.
        monitor: the metric that chooses: "val/accuracy", "val/macro_f1" (where there is a
            validation loader the default) or "val/kappa"; with several classes a row
            "val/micro_f1", "val/macro_f1", "val/weighted_f1" or "val/mean_average_precision";
            without a classifier "val/recall@1", "val/recall@5" or "val/probe_accuracy";
            "val/loss" or one of its terms; or a training term such as "train/loss".
        mode: "max" or "min"; by default "min" of losses and terms, "max" of all else.
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
        FloatingPointError: outputs, loss, gradient or weights became NaN or infinite; the last
            checkpoint stays, and the student has the weights with which the epoch began.
        ValueError: data that cannot be trained on, a `monitor` that nothing measures or that is NaN
            on these rows, a run that was made with something else, or an option of the trainer that
            would leave another student than was scored.
    """
    check_arguments(distiller, train_loader, val_loader)
    monitored = chosen_monitor(monitor, mode, val_loader is not None)
    checkpoint = prepare_run_dir(run_dir, resume)
    options = checked_options(trainer_options, monitored.name)
    given = {"lr": lr, "weight_decay": weight_decay, "seed": seed, "monitor": monitored}
    given |= {"optimizer": optimizer, "scheduler": scheduler}
    given |= {name: options[name] for name in TRAINER if name in options}
    # It reads rows, which is of use to a run that may be resumed.
    with_what = made_with(distiller, train_loader, val_loader, given) if checkpoint else {}
    limits = max_epochs, int(options.get("max_steps", -1))
    state = RunState(monitored, with_what, limits)
    module = DistillerModule(distiller, lr, weight_decay, optimizer, scheduler)
    saved = read_saved(checkpoint) if checkpoint is not None and checkpoint.exists() else None
    trains = True
    if saved is not None:
        check_made_with(saved.state["made_with"], with_what, run_dir)
        if saved.ended(*limits):
            if not lacks_average(saved, options["callbacks"]):
                module.load_state_dict(saved.checkpoint["state_dict"])
                state.load_state_dict(dict(saved.state))
                return state.finish(distiller)
            trains = an_epoch_is_left(saved, module, max_epochs)
        state.rescheduled = limits != tuple(saved.state["limits"])
    begun = 0 if saved is None else saved.epochs
    order = EpochOrder(seed, begun, train_loader)
    last: list[L.Callback] = [] if checkpoint is None else [Saving(state, checkpoint)]
    with quiet_lightning(), own_interrupts():
        trainer = _trainer(max_epochs, [state, order, module.guard], last, options)
        order.rank = trainer.global_rank
        rows = audited(distiller, train_loader, val_loader) if check_data else nullcontext()
        precision = precision_of_networks(trainer, distiller)
        several = trainer.world_size > 1 and options.get("use_distributed_sampler", True)
        with rows, order.of_loader(), precision, warnings.catch_warnings():
            for message in INTENDED:
                warnings.filterwarnings("ignore", message)
            loaders = train_loader, val_loader
            if several:
                loaders = over_ranks(train_loader), over_ranks(val_loader)
            say_start(trainer, _rows(train_loader), monitored.name, begun)
            try:
                if trains or saved is None:
                    trainer.fit(
                        module,
                        *loaders,
                        ckpt_path=None if saved is None else str(checkpoint),
                        weights_only=True,
                    )
                else:
                    state.load_state_dict(dict(saved.state))
                    load_end(module, saved, options["callbacks"], max_epochs)
            except SystemExit:
                if not trainer.interrupted:
                    raise
                result = state.finish(distiller, interrupted=True)
                say_interrupted(result, run_dir)
                return result
            if not trains or state.left_by_callbacks(distiller):
                measured = [{}]
                if val_loader is not None:
                    measured = trainer.validate(module, loaders[1], verbose=False)
                state.keep(distiller, measured[0])
                if checkpoint is not None and trainer.is_global_zero:
                    rewrite_state(checkpoint, state)
    return state.finish(distiller)


def _rows(loader: DataLoader) -> int | None:
    dataset = loader.dataset
    return len(dataset) if hasattr(dataset, "__len__") else None  # type: ignore[arg-type]


def _trainer(
    max_epochs: int, first: list[L.Callback], last: list[L.Callback], options: dict[str, Any]
) -> L.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    options = {**options, "use_distributed_sampler": False}  # see `over_ranks`
    devices = options.get("devices", "auto")
    one = torch.cuda.device_count() < 2 if devices == "auto" else devices in (1, "1", [0])
    if not one:
        # Which heads take part depends on labels and on valid rows of the batch.
        quiet["strategy"] = "ddp_find_unused_parameters_true"
    own = {"callbacks": [*first, *options["callbacks"], *last], "max_epochs": max_epochs}
    if last:  # a callback that writes checkpoints; Lightning adds none of its own beside it
        own["enable_checkpointing"] = True
    return L.Trainer(**{**quiet, **options, **own})


@contextmanager
def audited(distiller: Distiller, train: DataLoader, val: DataLoader | None) -> Iterator[None]:
    """Find bad rows before any training, and train without them.

    Rows whose teacher's signal holds NaN or infinity are marked in the datasets while the context
    lasts (`audit` counts them in a warning); afterwards the datasets are the caller's again, as
    they were.
    """

    def teachers(dataset: PairedDataset) -> tuple[str, ...]:
        return distiller.modalities_read(dataset.cached, dataset.inputs)

    def of_validation(dataset: PairedDataset) -> tuple[str, ...]:
        """Those that validation reads: it may lack them, and one that is cached does not run."""
        resting = getattr(train.dataset, "cached", {})
        return tuple(
            one
            for one in teachers(dataset)
            if one in dataset.inputs and one not in resting and bool(dataset.rows_with(one).any())
        )

    student = str(distiller.student.modality)
    given: Given = []
    unpaired = train.collate_fn if isinstance(train.collate_fn, UnpairedCollate) else None
    try:
        if unpaired is None:
            rows = check_loader(train, student, teachers, given, "train")
        else:
            rows = check_loader(train, student, lambda dataset: (), given, "train")
            if unpaired.teacher in unpaired.dataset.inputs:
                required = (unpaired.teacher,)
                audit(unpaired.dataset, required=required, allow_missing=True, name="teacher rows")
        if val is not None:
            scored = check_loader(val, student, of_validation, given, "val")
            if rows is not None and scored is not None:
                check_same_classes(rows, scored)
        yield
    finally:
        for dataset, valid in reversed(given):
            dataset.valid = valid
