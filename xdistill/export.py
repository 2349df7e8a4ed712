"""A trained student on disk: its weights, and what is needed to recreate the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from xdistill.encoders.checkpoint import load_weights, save_weights
from xdistill.registry import create_encoder
from xdistill.report import read_json, write_json

WEIGHTS = "student.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class Student:
    """A student read back from a run folder.

    Attributes:
        encoder: the network, in eval mode.
        classes: what its logits stand for.
    """

    encoder: nn.Module
    classes: tuple[str, ...]


def save_student(
    folder: Path,
    encoder: nn.Module,
    *,
    name: str,
    options: Mapping[str, Any],
    classes: Sequence[str],
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write `student.safetensors` and `config.json` into a run folder.

    Args:
        folder: the run folder.
        encoder: the trained network.
        name: the encoder's name in `create_encoder`.
        options: the options with which it was created.
        classes: names of the classes.
        config: further entries of the run's config.json.
    """
    save_weights(encoder, folder / WEIGHTS)
    write_json(
        folder / CONFIG,
        {
            **(config or {}),
            "encoder": {"name": name, "options": dict(options)},
            "classes": list(classes),
        },
    )


def load_student(folder: str | Path) -> Student:
    """Recreate the student of a run folder.

    Raises:
        FileNotFoundError: config.json or the weights are missing, or the run has not finished.
    """
    folder = Path(folder)
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(
            f"{folder / CONFIG} is missing; pass the run folder that a benchmark wrote"
        )
    config = read_json(folder / CONFIG)
    if "encoder" not in config:
        raise FileNotFoundError(
            f"the run in {folder} has not finished; continue it with --resume first"
        )
    encoder = create_encoder(config["encoder"]["name"], **config["encoder"]["options"])
    load_weights(encoder, folder / WEIGHTS)
    return Student(encoder.eval(), tuple(config["classes"]))
