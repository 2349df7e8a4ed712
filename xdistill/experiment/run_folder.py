"""The folder of a run: what lies in it, and when it may be gone on with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from options import Options, as_config

from xdistill.engine.run_dir import prepare_run_dir
from xdistill.export import CONFIG
from xdistill.metrics import Scores
from xdistill.report import read_json, write_json

# A resumed run may add methods and seeds; what is done stays.
GROWING = ("methods", "seeds", "devices", "accelerator", "num_workers")


@dataclass(frozen=True)
class Run:
    """One trained network of one seed, as its result.json keeps it."""

    method: str
    seed: int
    val: Scores
    test: Scores
    best_epoch: int
    seconds: float
    history: list[dict[str, float]]
    predicted: list[int]


def open_folder(name: str, options: Options) -> Path:
    """The run folder with its config.json, new or to go on with.

    Raises:
        FileExistsError: it is not empty and `resume` is off, or it holds something else.
        FileNotFoundError: `resume` without `out` finds no run.
        ValueError: the run was started with other options.
    """
    # A further process of one run finds the folder that the first one has made.
    latest = options.resume or not main_process()
    folder = options.out or _numbered(Path("runs") / name, latest)
    config = as_config(name, options)
    if not main_process():
        return folder
    if options.resume and folder.is_dir() and any(folder.iterdir()):
        _check_same_run(folder, config)
    prepare_run_dir(folder, options.resume)
    if not (folder / CONFIG).exists():
        write_json(folder / CONFIG, config)
    return folder


def _check_same_run(folder: Path, config: Mapping[str, Any]) -> None:
    if not (folder / CONFIG).exists():
        raise FileExistsError(
            f"{folder} is not empty and holds no {CONFIG}, so it is no run to go on with; choose "
            "another --out"
        )
    before = read_json(folder / CONFIG)
    other = {
        name: f"{before.get(name)!r} → {value!r}"
        for name, value in config.items()
        if before.get(name) != value and name not in GROWING
    }
    if other:
        raise ValueError(
            f"--resume with other options than {folder} was started with: {other}; use the same "
            "ones or another --out"
        )


def _numbered(parent: Path, latest: bool) -> Path:
    taken = sorted(path for path in parent.glob("[0-9]*") if path.is_dir())
    if latest:
        if not taken:
            raise FileNotFoundError(f"--resume finds no run under {parent}; give it by --out")
        return taken[-1]
    return parent / f"{1 + max((int(path.name) for path in taken), default=0):03d}"


def read_run(path: Path) -> Run:
    """A result.json read back."""
    kept = read_json(path)
    for part in ("val", "test"):
        scores = kept[part]
        scores["f1_per_class"] = tuple(scores["f1_per_class"])
        scores["confusion"] = tuple(map(tuple, scores["confusion"]))
        kept[part] = Scores(**scores)
    return Run(**kept)


def main_process() -> bool:
    """Lightning starts one process more per further device, each with its LOCAL_RANK."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def say(text: str) -> None:
    """Print, once for all processes."""
    if main_process():
        print(text, flush=True)
