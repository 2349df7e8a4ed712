"""The folder of a training run: when it may be used, and the checkpoint in it."""

from __future__ import annotations

import os
from pathlib import Path

CHECKPOINT = "last.ckpt"


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
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise FileExistsError(
            f"run folder {folder} is not empty; choose another, or pass resume=True (--resume) to "
            "go on with that run"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder / CHECKPOINT
