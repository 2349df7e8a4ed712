"""The options that every benchmark script shares, and how they become a command line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass(frozen=True)
class Options:
    """What every benchmark lets its user choose."""

    methods: tuple[str, ...] = ("kd", "sacd")
    """Losses to distil with, beside the student alone; several at once as "kd+sacd"."""
    layers: tuple[str, ...] = ()
    """Pairs of hidden layers for methods that compare them, student:teacher, as in layer4:layer3.
    A layer is what an encoder returns as hidden by itself, or the name of a module inside it."""
    seeds: int = 1
    """How many times everything is repeated, with seeds 0, 1, …"""
    student: str = "video_small"
    """Encoder of the student: a registered name, timm/…, torchvision/…"""
    teacher: str = "eeg_small"
    """Encoder of the teacher: a registered name or braindecode/…"""
    max_epochs: int = 8
    """Epochs of every student."""
    teacher_epochs: int = 5
    """Epochs of the teacher."""
    monitor: str = "val/macro_f1"
    """Validation metric that chooses the epoch: val/accuracy, val/macro_f1 or val/kappa."""
    batch_size: int = 64
    """Rows per step (per device)."""
    lr: float = 2e-3
    """Peak learning rate of AdamW, the same for every run."""
    label_fraction: float = 1.0
    """Share of the training labels that the students see; the other rows stay as unlabelled pairs.
    The teacher sees all labels, as one trained before on a labelled corpus."""
    devices: str = "1"
    """Lightning's devices: a number, "auto", or a list such as "0,1"."""
    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu, …"""
    precision: str = "32-true"
    """Lightning's precision: 32-true, bf16-mixed, 16-mixed."""
    num_workers: int = 0
    """Processes that read data; for data that does not fit into memory."""
    out: Path | None = None
    """Run folder; a new numbered one under runs/ when left out."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on with the run in --out, or with the newest one under runs/."""


def cli(main: Callable[[Any], None], options: type[Options]) -> None:
    """Read the command line and run; a user's mistake is one sentence, not a traceback."""
    chosen = tyro.cli(options)
    # The protocol says itself what it trains; Lightning's notes on devices would repeat each time.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        main(chosen)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        sys.exit(f"error: {error}")


def lightning_devices(devices: str) -> Any:
    """The option --devices as Lightning takes it."""
    if devices == "auto":
        return devices
    return [int(one) for one in devices.split(",")] if "," in devices else int(devices)


def as_config(name: str, options: Options) -> dict[str, Any]:
    """What config.json keeps of the options of a benchmark of that name."""
    kept = {name: value for name, value in asdict(options).items() if name not in ("out", "resume")}
    kept = {name: list(v) if isinstance(v, tuple) else v for name, v in kept.items()}
    kept = {name: str(v) if isinstance(v, Path) else v for name, v in kept.items()}
    return {"benchmark": name, **kept}
