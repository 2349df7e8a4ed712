"""The options of a benchmark script, and how a dataclass becomes a command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.experiment.case import DEFAULT_CASE, Case
from xdistill.experiment.hardware import Hardware
from xdistill.experiment.hidden_layers import parse_pairs
from xdistill.experiment.methods import check_names
from xdistill.experiment.setting import Setting
from xdistill.extras import import_extra
from xdistill.registry import encoders
from xdistill.report import SCALARS

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What every benchmark lets its user choose.

    Raises:
        ValueError: numbers that no run can use, before anything is made or trained.
    """

    methods: tuple[str, ...] = ("kd", "sacd")
    """Losses to distil with, beside the student alone; several at once as "kd+sacd". "labelled" is
    the student alone on the labelled rows alone, for as many steps."""
    layers: tuple[str, ...] = ()
    """Pairs of hidden layers for methods that compare them, student:teacher, as in layer4:layer3.
    A layer is what an encoder returns as hidden by itself, or the name of a module inside it."""
    seeds: int = 1
    """How many times everything is repeated, with seeds 0, 1, …"""
    student: str = "video_small"
    """Encoder of the student: a registered name, timm/…, torchvision/…"""
    teacher: str = "eeg_small"
    """Encoder of the teacher: a registered name or braindecode/…"""
    max_epochs: int = 8
    """Epochs of every student."""
    teacher_epochs: int = 5
    """Epochs of the teacher."""
    monitor: str = "val/macro_f1"
    """Validation metric that chooses the epoch: val/accuracy, val/macro_f1 or val/kappa."""
    batch_size: int = 64
    """Rows per step (per device)."""
    lr: float = 2e-3
    """Peak learning rate of AdamW, the same for every run."""
    label_fraction: float = 1.0
    """Share of the training labels that the students see; the other rows stay as unlabelled pairs.
    What the teacher sees is chosen with --case."""
    labelled_groups: int | None = None
    """Number of training subjects whose labels the students see, of these --label-fraction; all
    when left out."""
    labelled_per_batch: int | None = None
    """Labelled rows of every step where some training rows have no label, so that the task sees
    labels in each; rows are mixed as they come when left out."""
    balanced: bool = False
    """Draw those labelled rows of every class equally often."""
    weighted: bool = False
    """Weigh labelled rows so that all classes count the same, the rare ones more."""
    bound: bool = False
    """Where labels are hidden, also train the student alone with all of them: what no method can
    be expected to pass."""
    case: Case = DEFAULT_CASE
    """What the teacher saw of the rows that it teaches. in_sample: their labels, the hidden ones,
    too, so that students are told those. cross_fitted: every row is taught by a teacher of other
    subjects, one for each of --teacher-folds. transfer: it was trained on the subjects that
    --teacher-share sets aside."""
    teacher_folds: int = 4
    """Folds of the cross_fitted case."""
    teacher_share: float = 0.0
    """Share of the training subjects that is set aside for the teacher of the transfer case."""
    devices: str = "1"
    """Lightning's devices: a number, "auto", or a list such as "0,1"."""
    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu, …"""
    precision: str = "32-true"
    """Lightning's precision: 32-true, bf16-mixed, 16-mixed."""
    num_workers: int = 0
    """Processes that read data; for data that does not fit into memory."""
    out: Path | None = None
    """Run folder; a new numbered one under runs/ when left out."""
    resume: bool = False
    """Continue the run in --out, or the newest one under runs/."""

    def __post_init__(self) -> None:
        for name in ("seeds", "max_epochs", "teacher_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{_flag(name)} must be at least 1, got {getattr(self, name)}")
        if self.batch_size < 2:
            raise ValueError(f"--batch-size must be at least 2, got {self.batch_size}")
        if not 0 < self.label_fraction <= 1:
            raise ValueError(
                f"--label-fraction must be above 0 and at most 1, got {self.label_fraction}"
            )
        if self.teacher_folds < 3 or not 0 <= self.teacher_share < 1:
            raise ValueError(
                f"--teacher-folds must be at least 3, and --teacher-share from 0 to below 1, got "
                f"{self.teacher_folds} and {self.teacher_share}"
            )
        if self.balanced and self.labelled_per_batch is None:
            raise ValueError("--balanced draws labelled rows, so it needs --labelled-per-batch")
        if not self.lr > 0:
            raise ValueError(f"--lr must be above 0, got {self.lr}")
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"--methods names a method twice: {' '.join(self.methods)}")
        if self.monitor.removeprefix("val/") not in SCALARS:
            raise ValueError(
                f"--monitor must be one of {', '.join(f'val/{one}' for one in SCALARS)}, got "
                f"{self.monitor}"
            )

    def check_names(self) -> None:
        """Refuse names of no loss or encoder; `cli` does it before anything is made or trained.

        Raises:
            ValueError: an unknown name, with the near ones.
        """
        for method in self.methods:
            check_names(method)
        for name in (self.student, self.teacher):
            if name is not None:  # a benchmark may choose it by its data
                encoders.get(name)

    def hardware(self) -> Hardware:
        """What the options say about the machine."""
        return Hardware(
            self.accelerator, self.devices, self.precision, self.num_workers, verbose=True
        )

    def setting(
        self,
        splits: Splits,
        student: str,
        teacher: str,
        encoder_options: Mapping[str, Mapping[str, Any]] | None = None,
        teacher_load: Callable[[Path, int], PairedDataset] | None = None,
    ) -> Setting:
        """The setting of one student and one teacher on one split, with every loss as recommended.

        Args:
            splits: subject-disjoint paired datasets.
            student: modality of the student.
            teacher: modality of the teacher.
            encoder_options: further options of `create_encoder`, by modality.
            teacher_load: another corpus that a transfer teacher is trained on; see `Setting`.

        Raises:
            ValueError: a pair of --layers that is not written as student:teacher.
        """
        return Setting(
            load=lambda data_root, split: splits,
            teachers={teacher: self.teacher},
            student=student,
            encoder=self.student,
            options=encoder_options or {},
            layers=parse_pairs(self.layers),
            own_splits=False,
            epochs=self.max_epochs,
            teacher_epochs=self.teacher_epochs,
            batch_size=self.batch_size,
            labelled_per_batch=self.labelled_per_batch,
            balanced=self.balanced,
            weighted=self.weighted,
            folds=self.teacher_folds,
            teacher_share=self.teacher_share,
            teacher_load=teacher_load,
            lr=self.lr,
            monitor=self.monitor,
            warmup_share=None,
            loss_options={},
        )

    def numbers(self) -> dict[str, Any]:
        """What the options say about the labels and the teacher of every student; see `Trial`."""
        return {"labels": self.label_fraction, "groups": self.labelled_groups, "case": self.case}

    @property
    def hides_labels(self) -> bool:
        """Whether students see only some of the training labels."""
        return self.label_fraction < 1 or self.labelled_groups is not None

    def config(self, name: str) -> dict[str, Any]:
        """What config.json keeps of the options, for a benchmark of that name."""
        kept = {key: one for key, one in asdict(self).items() if key not in ("out", "resume")}
        kept = {key: list(one) if isinstance(one, tuple) else one for key, one in kept.items()}
        kept = {key: str(one) if isinstance(one, Path) else one for key, one in kept.items()}
        return {"benchmark": name, **kept}


def _flag(name: str) -> str:
    return name.replace("_", "-")


def cli(main: Callable[[T], None], options: type[T], default: T | None = None) -> None:
    """Read the command line and run; a user's mistake is one sentence, not a traceback.

    Args:
        main: takes the options.
        options: a dataclass whose fields and their docstrings are the options and their help.
        default: other values than the fields' own for options that are left out.
    """
    tyro = import_extra("tyro", "train", "the command line of a benchmark")

    flags = (tyro.conf.FlagCreatePairsOff,)
    if default is None:
        chosen = tyro.cli(options, config=flags)
    else:
        chosen = tyro.cli(options, default=default, config=flags)
    try:
        check: Callable[[], None] | None = getattr(chosen, "check_names", None)
        if check is not None:
            check()
        main(chosen)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
