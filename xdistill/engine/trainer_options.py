"""Which options of `lightning.Trainer` go with `fit`, and the few that do not."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar

from xdistill.engine.progress import progress_for

SPAWNED = ("ddp_spawn", "ddp_fork", "ddp_notebook")
SHARDED = ("fsdp", "deepspeed", "model_parallel", "modelparallel", "xla_fsdp")


def checked_options(options: dict[str, Any], monitor: str | None) -> dict[str, Any]:
    """The options, with the callbacks as a list that has a progress bar unless one is unwanted.

    Raises:
        ValueError: an option that would leave another student than was scored, or none of the
            metrics that choose it.
    """
    strategy = options.get("strategy", "auto")
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if name.lower().startswith(SHARDED):
        raise ValueError(
            f"strategy={name!r} shards the weights over processes, and fit keeps and returns whole "
            "students; use strategy='ddp', or drive the Distiller from a LightningModule of yours"
        )
    start = getattr(strategy, "_start_method", "")
    if name.lower().startswith(SPAWNED) or start in ("spawn", "fork", "forkserver"):
        raise ValueError(
            f"strategy={name!r} trains copies in processes that end with it, and neither student "
            "nor result would come back; use strategy='ddp' in a script, or devices=1"
        )
    if options.get("barebones"):
        raise ValueError(
            "barebones=True logs no metric, and fit chooses the student by one; leave it out and "
            "pass enable_progress_bar=False for less output"
        )
    given = options.get("callbacks") or []
    callbacks = [given] if isinstance(given, L.Callback) else list(given)
    shown = options.get("enable_progress_bar", True)
    if shown and not any(isinstance(one, ProgressBar) for one in callbacks):
        callbacks.append(progress_for(monitor))
    return {**options, "callbacks": callbacks}
