"""The checkpoint of a run: written after every epoch, and marked when the run has ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from xdistill.engine.run_state import RunState


class Saving(Checkpoint):
    """Writes the checkpoint when all other callbacks have had their say about an epoch.

    Lightning calls a `Checkpoint` last, after an EarlyStopping, so that the file knows whether the
    run was to end with that epoch.
    """

    def __init__(self, state: RunState, checkpoint: Path):
        self.state = state
        self.checkpoint = checkpoint

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the checkpoint, by a rename: a killed process leaves the one before."""
        self.state.stopped = bool(trainer.should_stop)
        partial = self.checkpoint.with_name(f".{self.checkpoint.name}-{uuid4().hex}.partial")
        partial = Path(trainer.strategy.broadcast(str(partial)))
        try:
            trainer.save_checkpoint(partial)
            if trainer.is_global_zero:
                os.replace(partial, self.checkpoint)
        finally:
            if trainer.is_global_zero:
                partial.unlink(missing_ok=True)


class Saved(NamedTuple):
    """What a checkpoint says about its run.

    Attributes:
        epochs: how many were begun.
        steps: of the optimiser.
        whole: whether the last of the epochs was finished.
        state: that of `RunState`.
        checkpoint: all that it holds.
    """

    epochs: int
    steps: int
    whole: bool
    state: Mapping[str, Any]
    checkpoint: Mapping[str, Any]

    def ended(self, max_epochs: int, max_steps: int) -> bool:
        """Whether the run is over: something ended it, or a limit is reached.

        Raises:
            ValueError: it ended in the middle of an epoch, and is to go on.
        """
        limits = ((self.epochs, max_epochs), (self.steps, max_steps))
        if self.state["stopped"] or any(0 <= limit <= done for done, limit in limits):
            return True
        if not self.whole:
            raise ValueError(
                f"this run ended after {self.steps} steps, in the middle of epoch "
                f"{self.epochs - 1}, and cannot go on from there; start a new run with other limits"
            )
        return False


def read_saved(checkpoint: Path) -> Saved:
    """What a checkpoint of `fit` holds.

    Raises:
        ValueError: it cannot be read, or `fit` did not write it.
    """
    try:
        found = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ValueError(
            f"checkpoint {checkpoint} cannot be read ({error}); delete it to start that run anew"
        ) from error
    try:
        progress = found["loops"]["fit_loop"]["epoch_progress"]["current"]
        batches = found["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        state = found["callbacks"][RunState.__qualname__]
        saved = Saved(
            int(progress["ready"]),
            int(found["global_step"]),
            bool(batches["is_last_batch"]),
            state,
            found,
        )
        missing = {"stopped", "made_with", "history", "limits"} - set(state)
    except (KeyError, TypeError) as error:
        saved, missing = None, {error}
    if saved is None or missing:
        raise ValueError(
            f"checkpoint {checkpoint} is not one of xdistill.fit (it lacks {missing}); give the "
            "folder of such a run, or an empty one"
        )
    return saved


def rewrite_state(checkpoint: Path, state: RunState) -> None:
    """Put what a callback left after the last epoch into the checkpoint of a run that has ended."""
    state.stopped = True
    found = torch.load(checkpoint, map_location="cpu", weights_only=True)
    found["callbacks"][RunState.__qualname__] = state.state_dict()
    partial = checkpoint.with_name(f".{checkpoint.name}-{uuid4().hex}.partial")
    torch.save(found, partial)
    os.replace(partial, checkpoint)
