"""The checkpoint of a run: written after every epoch, and marked when the run has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from xdistill.engine.run_dir import write_checkpoint
from xdistill.engine.run_state import RunState
from xdistill.storage.atomic import replacing
from xdistill.storage.checksums import check_zip


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
        write_checkpoint(trainer, self.checkpoint)


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
        check_zip(checkpoint)
        found = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ValueError(
            f"checkpoint {checkpoint} cannot be read ({error}); delete it to start that run anew"
        ) from error
    missing = _missing(found)
    if missing:
        raise ValueError(
            f"checkpoint {checkpoint} has no {missing}, so fit did not write it or it is damaged; "
            "delete it to start that run anew"
        )
    loop = found["loops"]["fit_loop"]
    return Saved(
        loop["epoch_progress"]["current"]["ready"],
        found["global_step"],
        loop["epoch_loop.batch_progress"]["is_last_batch"],
        found["callbacks"][RunState.__qualname__],
        found,
    )


PARTS = (
    ("epoch", int),
    ("global_step", int),
    ("state_dict", Mapping),
    ("optimizer_states", list),
    ("loops.fit_loop.epoch_progress.current.ready", int),
    ("loops.fit_loop.epoch_loop%batch_progress.is_last_batch", bool),
    *(
        (f"callbacks.{RunState.__qualname__}.{name}", kind)
        for name, kind in (
            ("history", list),
            ("made_with", Mapping),
            ("limits", list),
            ("stopped", bool),
        )
    ),
)
"""What a checkpoint of `fit` holds, by the keys that lead there."""


def _missing(found: Any) -> str:
    """What a checkpoint of `fit` lacks, "" if nothing."""
    for path, kind in PARTS:
        one = found
        for key in path.split("."):
            one = one.get(key.replace("%", ".")) if isinstance(one, Mapping) else None
        if not isinstance(one, kind):
            return f"{kind.__name__} at {path.replace('%', '.')!r}"
    return ""


def rewrite_state(checkpoint: Path, state: RunState) -> None:
    """Put what a callback left after the last epoch into the checkpoint of a run that has ended."""
    state.stopped = True
    found = torch.load(checkpoint, map_location="cpu", weights_only=True)
    found["callbacks"][RunState.__qualname__] = state.state_dict()
    with replacing(checkpoint) as partial:
        torch.save(found, partial)
