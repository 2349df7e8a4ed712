"""What a run says on the console: one line of ours, and none of Lightning's."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L

from xdistill.engine.run_state import FitResult


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's notes on devices, and its tips, to itself; warnings are still shown."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(max(one.level, logging.WARNING))
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def say_start(trainer: L.Trainer, rows: int | None, monitor: str | None, begun: int) -> None:
    """Say what begins, where the progress bar is shown as well."""
    if trainer.progress_bar_callback is None or not trainer.is_global_zero:
        return
    where = f"{trainer.world_size} × {trainer.strategy.root_device.type}"
    epochs = "epochs without end" if trainer.max_epochs == -1 else f"{trainer.max_epochs} epochs"
    chosen = "the last epoch is kept" if monitor is None else f"{monitor} chooses the epoch"
    going_on = f", from epoch {begun} on" if begun else ""
    print(
        f"xdistill: {'?' if rows is None else rows} rows, {epochs}{going_on}, {where}, precision "
        f"{trainer.precision}; {chosen}",
        file=sys.stderr,
    )


def say_interrupted(result: FitResult, run_dir: object) -> None:
    """Say what an interrupted run leaves and how to go on."""
    if result.history:
        value = "" if result.monitor is None else f" ({result.monitor} {result.best_value:.4g})"
        left = f"the student is that of epoch {result.best_epoch}{value}"
    else:
        left = "no epoch was finished"
    on = (
        "without a run_dir there is nothing to go on from"
        if run_dir is None
        else f"fit(..., run_dir={str(run_dir)!r}, resume=True) goes on"
    )
    print(f"xdistill: interrupted; {left}; {on}", file=sys.stderr)


@contextmanager
def own_interrupts() -> Iterator[None]:
    """Give the process its handling of Ctrl-C back, which Lightning switches off for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
