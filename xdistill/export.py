"""A trained student on disk: its weights, and what is needed to recreate the network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xdistill.encoders.checkpoint import differences, load_weights, save_weights, weights_of
from xdistill.registry import create_encoder
from xdistill.report import read_json, write_json

WEIGHTS = "student.safetensors"
CONFIG = "config.json"
RUN_WEIGHTS = "weights.safetensors"
"""The weights of any run of a benchmark, in the run's own folder."""
STUDENTS = "students"
"""The entry of config.json with the folders of all students, a list over seeds by method."""


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
    folder: str | Path,
    encoder: nn.Module,
    *,
    name: str,
    options: Mapping[str, Any],
    classes: Sequence[str],
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write `student.safetensors` and `config.json` into a run folder.

    The student is recreated from its name and options before anything is written, so that what is
    saved can be loaded.

    Args:
        folder: the run folder.
        encoder: the trained network; compiled or inside DistributedDataParallel, too.
        name: the encoder's name in `create_encoder`.
        options: the options with which it was created.
        classes: names of the classes.
        config: further entries of the run's config.json.

    Raises:
        ValueError: the name and the options make another network, the classes are not as many as
            its logits, or weights are unusable (NaN, …; see `save_weights`).
        OSError: a file cannot be written; names it.
    """
    folder, options = Path(folder), dict(options)
    made = _recreated(name, options)
    problems = differences(weights_of(made), weights_of(encoder))
    if problems:
        raise ValueError(
            f"the student could not be loaded again: create_encoder({name!r}) with the options "
            f"{options} makes another network than the one given: {'; '.join(problems)}; pass the "
            "name and the options that it was created with"
        )
    if options.get("num_classes", len(classes)) != len(classes):
        raise ValueError(
            f"the student has {options['num_classes']} classes, but {len(classes)} names are given "
            f"({list(classes)}); name each once"
        )
    save_weights(encoder, folder / WEIGHTS)
    kept = {"encoder": {"name": name, "options": options}, "classes": list(classes)}
    write_json(folder / CONFIG, {**(config or {}), **kept})


def _recreated(name: str, options: Mapping[str, Any]) -> nn.Module:
    """The network of a name and of options as a JSON file gives them back, untrained."""
    try:
        kept = json.loads(json.dumps(options))
    except TypeError as error:
        raise ValueError(
            f"the options {dict(options)} cannot be kept in {CONFIG} ({error}); pass numbers, "
            "text, lists and dicts of them"
        ) from error
    with torch.random.fork_rng(devices=[]):
        return create_encoder(name, **kept)


def load_student(folder: str | Path, *, method: str | None = None, seed: int = 0) -> Student:
    """Recreate a student of a run folder.

    Args:
        folder: of a benchmark's runs, or one that `save_student` wrote; or a file of weights in it.
        method: of a benchmark's students the one of this method ("student" for the one that
            learned alone); None is the one that validation preferred.
        seed: which of the method's.

    Raises:
        FileNotFoundError: config.json or the weights are missing, or the run has not finished.
        ValueError: a file is damaged or was changed, or there is no run of that method and seed.
    """
    folder = Path(folder)
    weights = folder / WEIGHTS
    if folder.is_file():
        folder, weights = folder.parent, folder
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(
            f"{folder / CONFIG} is missing; pass the run folder that a benchmark wrote, or create "
            "the encoder and fill it with xdistill.encoders.load_weights"
        )
    config = read_json(folder / CONFIG)
    if "encoder" not in config:
        raise FileNotFoundError(
            f"the run in {folder} has not finished; continue it with --resume first"
        )
    if method is not None:
        weights = folder / _run_of(folder, config, method, seed) / RUN_WEIGHTS
    try:
        name, options = config["encoder"]["name"], config["encoder"]["options"]
        classes = tuple(config["classes"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / CONFIG} is not one that save_student wrote ({type(error).__name__}: "
            f"{error}); pass the folder of a run"
        ) from error
    encoder = create_encoder(name, **options)
    load_weights(encoder, weights, checked=True)
    return Student(encoder.eval(), classes)


def _run_of(folder: Path, config: Mapping[str, Any], method: str, seed: int) -> str:
    """The folder of a method's run, below that of all runs."""
    runs = config.get(STUDENTS, {})
    if not isinstance(runs.get(method), list) or not 0 <= seed < len(runs[method]):
        known = {name: len(some) for name, some in runs.items()}
        raise ValueError(
            f"{folder} has no student of method {method!r} and seed {seed}; it has (method: number "
            f"of seeds) {known}"
        )
    return str(runs[method][seed])
