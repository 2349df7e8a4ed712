"""What a lab chooses when it trains a sleep stager on its prepared nights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from xdistill import experiment
from xdistill.data.splits import Splits
from xdistill.experiment.case import DEFAULT_CASE
from xdistill.experiment.methods import check_names, create_losses
from xdistill.experiment.setting import PRECOMPUTED, Setting
from xdistill.registry import encoders
from xdistill.sleep.marks import Mark
from xdistill.sleep.train.contexts import Wanted
from xdistill.sleep.train.data import ENCODERS, Sees

YASA = "yasa"


@dataclass(frozen=True, kw_only=True)
class NightOptions(experiment.Options):
    """Train a student that stages sleep from a bed camera, with EEG as its teacher.

    Raises:
        ValueError: options that contradict each other.
    """

    prepared: Path
    """Folder that `xdistill prepare` wrote."""
    sees: Sees = "video"
    """What the student sees of an epoch: the clip, the body's signals (breathing and activity), or
    both."""
    student: str | None = None  # type: ignore[assignment]
    """Encoder of the student: a registered name, timm/…; by default video_breathing, body_small or
    video_body, after what it sees."""
    teacher: str = "eeg_small"
    """Encoder of the teacher: a registered name or braindecode/…; or yasa for the probabilities of
    YASA's stages that the nights were prepared with, so that no teacher is trained."""
    methods: tuple[str, ...] = ("kd", "recipe")
    """Losses to distil with, beside the student alone; several at once as "kd+sacd". "labelled" is
    the student alone on the labelled rows alone, "pseudo_label" takes the teacher's answer for a
    missing label, "recipe" trains three students, of which validation keeps one."""
    monitor: str = "val/kappa"
    """Validation metric that chooses the epoch: val/accuracy, val/macro_f1 or val/kappa."""
    labels: tuple[str, ...] = ("scored",)
    """Whose stages are learned from: scored, yasa, or the subjects whose scored stages are used,
    while all other nights stay in as unlabelled ones."""
    judge: Literal["scored", "yasa"] | None = None
    """Whose stages validation and test are compared with; yasa with --labels yasa, else scored."""
    exclude: tuple[Mark, ...] = ()
    """Marks of epochs that are not trained on; they are counted."""
    val_subjects: tuple[str, ...] = ()
    """Subjects for validation; with --test-subjects, all others are for training."""
    test_subjects: tuple[str, ...] = ()
    """Subjects who are held out to the end."""
    folds: int | None = None
    """Instead of a single split: so many trainings, in which every scored subject is held out
    once. Each has a folder of its own in --out."""
    split_seed: int = 0
    """Which subjects are held out, where none are named."""
    context: Wanted = "both"
    """What the student does with the rest of the night. none: every epoch alone. hmm: a hidden
    Markov model of which stage follows which. both: a network over all epochs, or the hidden Markov
    model where validation prefers that. causal: the same with no later epoch, for a live night."""
    context_distil: float = 0.5
    """Weight of the teacher's probabilities as a target of that network; 0 for labels alone."""
    context_epochs: int = 60
    """Longest training of that network; validation ends it earlier."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.context_distil >= 0 or self.context_epochs < 1:
            raise ValueError(
                f"--context-distil must be 0 or more and --context-epochs at least 1, got "
                f"{self.context_distil} and {self.context_epochs}"
            )
        several = {"scored", "yasa"} & set(self.labels)
        if not self.labels or (several and len(self.labels) > 1):
            raise ValueError(
                f"--labels is scored, or yasa, or subjects, got {' '.join(self.labels) or 'none'}"
            )
        if self.teacher == YASA and self.case != DEFAULT_CASE:
            raise ValueError(
                f"YASA was trained on sleepers elsewhere, so there is no other case of it than "
                f"{DEFAULT_CASE}, got --case {self.case}; leave it out"
            )

    def check_names(self) -> None:
        """Refuse names of no loss or encoder."""
        own = {"teacher": self.teacher, "student": self.student}
        for name in own.values():
            if name is not None and name != YASA:
                encoders.get(name)
        for method in self.methods:
            check_names(method)

    @property
    def judged_by(self) -> Literal["scored", "yasa"]:
        """Whose stages held-out sleepers are compared with."""
        return self.judge or ("yasa" if self.labels == (YASA,) else "scored")

    def data_options(self, fold: int | None) -> dict[str, Any]:
        """Options of the data set "nights"."""
        named = self.labels[0] in ("scored", "yasa")
        return {
            "labels": self.labels[0] if named else self.labels,
            "exclude": tuple(map(str, self.exclude)),
            "val_subjects": self.val_subjects,
            "test_subjects": self.test_subjects,
            "folds": self.folds,
            "fold": fold or 0,
            "seed": self.split_seed,
        }

    def config(self, name: str) -> dict[str, Any]:
        """What config.json keeps of the options."""
        kept = super().config(name)
        return {**kept, "exclude": list(map(str, self.exclude))}


def night_setting(options: NightOptions, splits: Splits, shape: dict[str, int]) -> Setting:
    """The setting of a run.

    Args:
        options: of the run.
        splits: with the student's modality as one column.
        shape: of clips and signals of the body.

    Raises:
        ValueError: a loss on embeddings or hidden layers with a teacher of probabilities alone.
    """
    if options.teacher == YASA:
        _check_losses(options)
        options = replace(options, teacher=PRECOMPUTED)
    options = replace(options, student=options.student or ENCODERS[options.sees])
    own = {"video_body": shape} if options.sees == "video_body" else {}
    return options.setting(splits, options.sees, "eeg", own)


def _check_losses(options: NightOptions) -> None:
    setting = Setting(lambda root, split: None, {"eeg": PRECOMPUTED}, "video")  # type: ignore[arg-type, return-value]
    for method in options.methods:
        if method in experiment.UNTAUGHT:
            continue
        for loss in create_losses(method, setting).values():
            for leaf in loss.leaves():
                if not leaf.task and {"embedding", "hidden"} & set(leaf.inputs):
                    raise ValueError(
                        f"method {method!r} compares embeddings, and YASA gives probabilities "
                        "alone; take kd, recipe or another loss on logits, or a teacher that reads "
                        "EEG, as in --teacher eeg_small"
                    )
