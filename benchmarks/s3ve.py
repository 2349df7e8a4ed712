"""Distil EEG into an infrared-video sleep stager.

The case of a laboratory that has an EEG stager from elsewhere, films many nights with EEG beside,
and scores few of them. Without an argument it makes (or finds) the embedded sample of simulated
sleepers, trains the EEG teacher on the sleepers of another corpus, the video student alone on three
scored nights of twelve, the student with each method on all twelve, and the student with all
labels as the bound; it prints one table, one sentence on what was gained, and writes a run folder.
With --data it does the same on a release of S3VE, and with --layout nights on one's own nights, as
`xdistill train` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import xdistill as xd
from xdistill.data.adapters.s3ve import teacher_rows
from xdistill.data.augment import flip_and_shift
from xdistill.data.simulation.nights import ELSEWHERE
from xdistill.experiment import Case, Night, Options, cli, run_benchmark
from xdistill.experiment.gain import gain
from xdistill.experiment.run_folder import main_process
from xdistill.sleep.train.options import NightOptions
from xdistill.sleep.train.run import train_nights

# A quarter of the pixels that the sample is rendered with; breathing is seen as well.
SAMPLE_SIZE = 24
FRAMES = 30


@dataclass(frozen=True)
class S3VEOptions(Options):
    """Distil EEG into an infrared-video sleep stager.

    Without an argument: the embedded sample of simulated sleepers, in a few minutes on two cores.
    """

    methods: tuple[str, ...] = ("labelled", "pseudo_label", "kd", "sacd", "recipe")
    """Losses to distil with, beside the student alone; several at once as "kd+sacd". "labelled" is
    the student alone on the labelled rows alone, for as many steps; "pseudo_label" takes the
    teacher's answer for a missing label; "recipe" trains three students, of which validation keeps
    one."""
    student: str = "video_breathing"
    """Encoder of the student: a registered name, timm/…, torchvision/…"""
    max_epochs: int = 10
    """Epochs of every student."""
    monitor: str = "val/kappa"
    """Validation metric that chooses the epoch: val/accuracy, val/macro_f1 or val/kappa. With rare
    stages (N1) macro-F1 jumps from epoch to epoch."""
    case: Case = "transfer"
    """What the teacher saw of the rows that it teaches. transfer: nothing, it was trained on the
    sleepers of --teacher-data or on those that --teacher-share sets aside. in_sample: their labels,
    the hidden ones, too. cross_fitted: every row is taught by a teacher of other subjects, one for
    each of --teacher-folds."""
    teacher_data: Path | None = None
    """Another corpus on which the teacher of the transfer case is trained: a folder like --data in
    the layout "clips", of which only the EEG is read. When left out, the embedded sample's sleepers
    elsewhere; with --data, the subjects of --teacher-share."""
    teacher_share: float = 0.25
    """Share of the training subjects that is set aside for the teacher of the transfer case, where
    it has no corpus of its own."""
    labelled_groups: int | None = 3
    """Number of training subjects whose labels the students see, of these --label-fraction; None
    for all."""
    labelled_per_batch: int | None = 16
    """Labelled rows of every step where some training rows have no label, so that the task sees
    labels in each; None mixes rows as they come."""
    bound: bool = True
    """Where labels are hidden, also train the student alone with all of them: what no method can
    be expected to pass."""
    data: Path | None = None
    """Folder of S3VE; the embedded sample when left out."""
    layout: Literal["sample", "clips", "features", "nights"] | None = None
    """How --data is laid out: "clips" (video/ and eeg/ per label with an annotation JSON),
    "features" (a csv of feature files) or "nights" (a folder of `xdistill prepare`, of which
    --frames and --size are settled). "sample" without --data."""
    frames: int = FRAMES
    """Frames per clip, spread evenly: one per second resolves breathing."""
    size: int | None = None
    """Side of a frame in pixels; 112 by default, 24 for the embedded sample (rendered at 48)."""
    subject_pattern: str | None = None
    """Regular expression whose first group in a clip's id is its subject, for annotations that do
    not name the subject."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.subject_pattern or "")
        except re.error as error:
            raise ValueError(
                f"--subject-pattern {self.subject_pattern!r} is no regular expression ({error}); "
                r"it needs one group, as in '^(s\d+)_'"
            ) from error

    @property
    def embedded(self) -> bool:
        """Whether the data are the sample of simulated sleepers."""
        return self.layout == "sample" or (self.layout is None and self.data is None)


def main(options: S3VEOptions) -> None:
    """Read the data, run the benchmark and say what was gained."""
    if options.layout == "nights":
        train_nights(night_options(options))
        return
    if options.embedded:
        print("Making the sample of simulated sleepers, or finding it …", flush=True)
    splits = xd.create_dataset(
        "s3ve",
        root=options.data,
        layout=options.layout,
        frames=options.frames,
        size=options.size or (SAMPLE_SIZE if options.embedded else None),
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
    corpus = teacher_corpus(options, teacher)
    if corpus is not None:
        options = replace(options, teacher_share=0.0)
    setting = options.setting(splits, student, teacher, teacher_load=corpus)
    results = run_benchmark("s3ve", setting, options, first_night(splits.test))
    if main_process():
        print("\n" + gain(results, options.methods), flush=True)


def night_options(options: S3VEOptions) -> NightOptions:
    """The options that `xdistill train` has, too.

    Raises:
        ValueError: no folder of nights, or a teacher from a corpus of clips.
    """
    if options.data is None or options.teacher_data is not None:
        raise ValueError(
            "--layout nights needs --data, the folder that `xdistill prepare` wrote, and has no "
            "--teacher-data: the teacher is trained on the subjects that --teacher-share sets aside"
        )
    shared = {one.name: getattr(options, one.name) for one in fields(Options)}
    return NightOptions(prepared=options.data, **shared)


def teacher_corpus(
    options: S3VEOptions, teacher: str
) -> Callable[[Path, int], xd.PairedDataset] | None:
    """Reads the other sleepers on whom the teacher is trained; None where there are none.

    Raises:
        ValueError: a corpus for a teacher that does not read raw EEG.
    """
    if options.case != "transfer" or (options.teacher_data is None and not options.embedded):
        return None
    if teacher != "eeg":
        raise ValueError(
            f"the teacher reads {teacher!r}, but --teacher-data is a corpus of raw EEG; leave it "
            "out, and the teacher is trained on subjects of --data that --teacher-share sets aside"
        )
    root = options.teacher_data
    if root is None and options.data is not None:  # where this sample was made
        root = options.data / ELSEWHERE
    return lambda data_root, split: teacher_rows(root, subject_pattern=options.subject_pattern)


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
