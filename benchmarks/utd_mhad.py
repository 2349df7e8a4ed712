"""Distil a wearable's inertial signal (or the skeleton) into a depth-video action classifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import xdistill as xd
from xdistill.experiment import Options, cli, run_benchmark


@dataclass(frozen=True)
class UTDMHADOptions(Options):
    """Distil inertial or skeleton data into depth video on UTD-MHAD; see the fields below."""

    data: Path = Path("data/utd_mhad")
    """Folder with Depth/, Inertial/ and Skeleton/ in the public .mat layout."""
    teacher_modality: Literal["inertial", "skeleton"] = "inertial"
    """What the teacher sees."""
    teacher: str | None = None  # type: ignore[assignment]
    """Encoder of the teacher; <teacher modality>_small when left out."""
    methods: tuple[str, ...] = (
        "kd",
        "jsd",
        "jeffreys",
        "fitnet",
        "rkd",
        "sp",
        "crd",
        "infonce",
        "supcon",
        "multiclass_nce",
        "ccl",
        "khn",
        "sacd",
    )
    max_epochs: int = 40
    teacher_epochs: int = 40
    batch_size: int = 16
    size: tuple[int, int] = (32, 24)
    """Height and width of a depth frame in pixels, around the person."""
    frames: int = 16
    """Frames per clip, spread evenly."""


def main(options: UTDMHADOptions) -> None:
    """Read the data and run the benchmark."""
    modality = options.teacher_modality
    splits = xd.create_dataset(
        "utd_mhad",
        root=options.data,
        modalities=("depth", modality),
        frames=options.frames,
        size=options.size,
    )
    options = replace(options, teacher=options.teacher or f"{modality}_small")
    encoder_options = {"depth": {"modality": "depth"}, "skeleton": {"joints": 20}}
    setting = options.setting(splits, "depth", modality, encoder_options)
    run_benchmark(f"utd_mhad-{modality}", setting, options)


if __name__ == "__main__":
    cli(main, UTDMHADOptions)
