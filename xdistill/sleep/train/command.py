"""Train a student that stages sleep, from a folder that `xdistill prepare` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from xdistill.sleep.train.options import NightOptions
from xdistill.sleep.train.run import train_nights


@dataclass(frozen=True, kw_only=True)
class Options(NightOptions):
    """Train a student that stages sleep, from a folder that `xdistill prepare` wrote."""

    prepared: Positional[Path]
    """Folder that `xdistill prepare` wrote."""


def run(options: Options) -> int:
    """Train and judge the students; the exit status."""
    train_nights(options)
    return 0
