"""The folder of a training run: when it may be used, and the checkpoint in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from xdistill.storage.atomic import cannot_write, partial_name, remove_partial
from xdistill.storage.lock import alone_in, is_used

P = ParamSpec("P")
T = TypeVar("T")

CHECKPOINT = "last.ckpt"


def one_run_at_a_time(train: Callable[P, T]) -> Callable[P, T]:
    """Let a function hold the lock of its `run_dir` while it runs, in the process of rank 0."""

    @wraps(train)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        run_dir = kwargs.get("run_dir")
        if run_dir is None or rank_zero_only.rank:
            return train(*args, **kwargs)
        with alone_in(Path(os.fspath(run_dir))):  # type: ignore[arg-type]
            return train(*args, **kwargs)

    return alone


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
    if is_used(folder) and not resume:
        raise FileExistsError(
            f"run folder {folder} is not empty; choose another, or pass resume=True (--resume) to "
            "go on with that run"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not rank_zero_only.rank:
        remove_partial(folder / CHECKPOINT)
    return folder / CHECKPOINT


def write_checkpoint(trainer: L.Trainer, checkpoint: Path) -> None:
    """Write the state of a run under another name and then rename it; called in every process.

    Raises:
        OSError: it cannot be written; names the file.
    """
    # All processes of a run share the name, which no other run has.
    partial = Path(trainer.strategy.broadcast(str(partial_name(checkpoint))))
    try:
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            os.replace(partial, checkpoint)
    except OSError as error:
        raise cannot_write(checkpoint, error) from error
    except RuntimeError as error:
        if "PytorchStreamWriter" not in str(error):
            raise
        raise cannot_write(checkpoint, error) from error
    finally:
        if trainer.is_global_zero and partial.is_file():
            partial.unlink()
