"""Distil EEG into an infrared-video sleep stager.

Without an argument it makes (or finds) the embedded sample of simulated sleepers, trains the EEG
teacher, the video student alone and the student with each method, prints one table and writes a
run folder. With --data it does the same on a release of S3VE.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import xdistill as xd
from xdistill.data.augment import flip_and_shift
from xdistill.experiment import Night, Options, cli, run_benchmark

# A quarter of the pixels that the sample is rendered with, and a third of the work.
SAMPLE_SIZE = 24


@dataclass(frozen=True)
class S3VEOptions(Options):
    """Distil EEG into an infrared-video sleep stager.

    Without an argument: the embedded sample of simulated sleepers, in a few minutes on two cores.
    """

    monitor: str = "val/kappa"
    """Validation metric that chooses the epoch: val/accuracy, val/macro_f1 or val/kappa. With rare
    stages (N1) macro-F1 jumps from epoch to epoch."""
    data: Path | None = None
    """Folder of S3VE; the embedded sample when left out."""
    layout: Literal["sample", "clips", "features"] | None = None
    """How --data is laid out: "clips" (video/ and eeg/ per label with an annotation JSON) or
    "features" (a csv of feature files). "sample" without --data."""
    frames: int | None = None
    """Frames per clip, spread evenly; 16 by default, 30 for the embedded sample."""
    size: int | None = None
    """Side of a frame in pixels; 112 by default, 24 for the embedded sample (rendered at 48)."""
    subject_pattern: str | None = None
    """Regular expression whose first group in a clip's id is its subject, for annotations that do
    not name the subject."""


def main(options: S3VEOptions) -> None:
    """Read the data and run the benchmark."""
    embedded = options.layout == "sample" or (options.layout is None and options.data is None)
    if embedded:
        print("Making the sample of simulated sleepers, or finding it …", flush=True)
    splits = xd.create_dataset(
        "s3ve",
        root=options.data,
        layout=options.layout,
        frames=options.frames,
        size=options.size or (SAMPLE_SIZE if embedded else None),
        subject_pattern=options.subject_pattern,
    )
    student, teacher = (
        next(name for name in splits.train.modalities if name.startswith(signal))
        for signal in ("video", "eeg")
    )
    if student == "video":
        train = splits.train.replace(transforms={student: flip_and_shift})
        splits = splits._replace(train=train)
    options = with_mlps_for_features(options, student, teacher)
    setting = options.setting(splits, student, teacher)
    run_benchmark("s3ve", setting, options, first_night(splits.test))


def with_mlps_for_features(options: S3VEOptions, student: str, teacher: str) -> S3VEOptions:
    """Replace the default encoders by perceptrons where the files hold features."""
    default = S3VEOptions()
    if student == "video_features" and options.student == default.student:
        options = replace(options, student="mlp")
    if teacher == "eeg_features" and options.teacher == default.teacher:
        options = replace(options, teacher="mlp")
    return options


def first_night(test: xd.PairedDataset) -> Night | None:
    """The first test subject's night, if the data tells the time of each row."""
    if test.start_s is None:
        return None
    rows = (test.group == test.group[0]).nonzero().flatten()
    rows = rows[test.start_s[rows].argsort()]
    hours = (test.start_s[rows] / 3600).tolist()
    title = f"A night of the first test subject, from {test.ids[int(rows[0])]}"
    return Night(rows.tolist(), hours, title)


if __name__ == "__main__":
    cli(main, S3VEOptions)
