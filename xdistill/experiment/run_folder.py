"""The folder of runs: what it was started with, and the result that each run leaves in it."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xdistill.metrics import Scores
from xdistill.report import SCALARS, read_json, write_json
from xdistill.storage.lock import is_used

RESULT = "result.json"
NONE = "(no such option)"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Result:
    """What a finished run found.

    Attributes:
        val: scores on validation, of the epoch that was kept.
        test: scores on test, of the same epoch.
        best_epoch: the epoch that was kept, from 0.
        seconds: time of training and evaluation; of a resumed run, since it was resumed.
        history: one row per epoch with the mean of each training term and the validation metrics.
        predicted: predicted class index of every test row.
    """

    val: Scores
    test: Scores
    best_epoch: int
    seconds: float
    history: list[dict[str, float]]
    predicted: list[int]


@dataclass(frozen=True)
class Failure:
    """Why a run did not finish.

    Attributes:
        error: type and message.
        seconds: time until then; None where the process died.
    """

    error: str
    seconds: float | None


Outcome = Result | Failure


def read_outcome(folder: Path) -> Outcome | None:
    """What the run in a folder left; None where it has not ended.

    Raises:
        ValueError: its result.json is damaged, was edited, or is no result of a run.
    """
    path = folder / RESULT
    if not path.exists():
        return None
    kept = read_json(path)
    kept.pop("trial", None)
    try:
        if "error" in kept:
            return Failure(**kept)
        history = [{name: _number(one) for name, one in row.items()} for row in kept["history"]]
        parts = {name: _scores(kept[name]) for name in ("val", "test")}
        return Result(**{**kept, **parts, "history": history})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not the result of a run ({type(error).__name__}: {error}); delete it to "
            "have the run repeated"
        ) from error


def _scores(kept: Mapping[str, Any]) -> Scores:
    """Scores with the tuples that JSON turned into lists, and NaN where it has null."""
    scalars = {name: _number(kept[name]) for name in SCALARS}
    tuples = {
        "f1_per_class": tuple(map(_number, kept["f1_per_class"])),
        "confusion": tuple(map(tuple, kept["confusion"])),
    }
    return Scores(**{**kept, **scalars, **tuples})


def _number(kept: float | None) -> float:
    """A number as it was: JSON has null for NaN."""
    return math.nan if kept is None else kept


def write_outcome(folder: Path, trial: Any, outcome: Outcome) -> None:
    """Write result.json: what was run, as a dataclass, and what it left."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULT, {"trial": asdict(trial), **asdict(outcome)})


def forget_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a run that has finished, or that failed and is to start anew."""
    from xdistill.engine.run_dir import CHECKPOINT  # its package imports Lightning

    (folder / CHECKPOINT).unlink(missing_ok=True)


def open_folder(
    folder: Path, file: str, config: Mapping[str, Any], *, resume: bool, may_differ: Collection[str]
) -> None:
    """Make the folder of a new run, or check the one that is to be resumed.

    A resume that finds no run says in a warning that it starts one.

    Raises:
        FileExistsError: the folder is not empty and `resume` is False, or it holds no run.
        ValueError: the run was started with other options.
    """
    from xdistill.engine.run_dir import prepare_run_dir  # its package imports Lightning

    if not main_process():  # the main process does it
        return
    if resume and not (folder / file).exists():
        if is_used(folder):
            raise FileExistsError(
                f"{folder} is not empty and holds no {file}, so there is no run to resume; choose "
                "another --out"
            )
        warnings.warn(f"there is no run in {folder} to resume; a new one starts", stacklevel=3)
    prepare_run_dir(folder, resume)
    check_config(folder, file, config, may_differ)


def check_config(
    folder: Path,
    file: str,
    config: Mapping[str, Any],
    may_differ: Collection[str] = (),
    what: str = "options",
) -> None:
    """Write what runs are made with into their folder, or compare it with what is written there.

    Args:
        folder: of the runs.
        file: name of the JSON file in it.
        config: what they are made with.
        may_differ: entries that may change on resume, because no finished run depends on them, or
            that only a finished run has.
        what: the entries are, for the message.

    Raises:
        ValueError: the runs in the folder were made with other options, an option that is no more
            among them or one that is new; names them.
    """
    path = folder / file
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, config)
        return
    before, now = read_json(path), json.loads(json.dumps(config, default=str))
    other = {
        name: f"{before.get(name, NONE)!s} → {now.get(name, NONE)!s}"
        for name in (*now, *(name for name in before if name not in now))
        if before.get(name, NONE) != now.get(name, NONE) and name not in may_differ
    }
    if other:
        raise ValueError(
            f"the runs in {folder} were made with other {what}: {other}; use the same, choose "
            "another --out, or delete that folder"
        )


def numbered_folder(parent: Path, resume: bool) -> Path:
    """The next of the folders 001, 002, … of a parent, or the newest one where it is resumed.

    Raises:
        FileNotFoundError: there is none to resume.
    """
    runs = [path for path in parent.glob("[0-9]*") if path.is_dir() and path.name.isdigit()]
    taken = sorted(runs, key=lambda path: int(path.name))
    # A further process of the same run finds the folder that the main process has made.
    if resume or not main_process():
        if not taken:
            raise FileNotFoundError(f"--resume finds no run under {parent}; name it with --out")
        return taken[-1]
    return parent / f"{int(taken[-1].name) + 1 if taken else 1:03d}"


def main_process() -> bool:
    """Lightning starts one process more for each further device, each with its LOCAL_RANK."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def wait_for_main_process() -> None:
    """Wait until the main process has written what all processes read."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
