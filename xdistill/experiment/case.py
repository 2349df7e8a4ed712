"""What a teacher saw of the rows that it teaches: the case in which a student is distilled."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch

from xdistill.data.paired import PairedDataset
from xdistill.experiment.setting import Setting

Case = Literal["transfer", "cross_fitted", "in_sample"]
"""How the teacher was trained, while the pairs that students see stay the same.

- transfer: on other groups (subjects) than the pairs, or on another corpus. A lab has an EEG stager
  from elsewhere.
- cross_fitted: within the pairs, one teacher a fold, so that each row is taught by a teacher that
  did not see it (`cross_fit_teacher`). A lab has all labels of its own pairs, or hides some.
- in_sample: on the labels of the very rows that it teaches. It is right about nearly all of them,
  so its students are told labels that are hidden from them.
"""

CASES: tuple[Case, ...] = get_args(Case)
DEFAULT_CASE: Case = "in_sample"


class Parts(NamedTuple):
    """Training rows, divided.

    Attributes:
        teacher: rows that a transfer teacher is trained on; None where none are set aside.
        pairs: rows that students are distilled on, in every case.
    """

    teacher: PairedDataset | None
    pairs: PairedDataset


def set_aside(train: PairedDataset, share: float, seed: int) -> Parts:
    """Divide training rows by whole groups between a transfer teacher and the pairs.

    Args:
        train: all training rows.
        share: of the groups that the teacher gets, rounded down, and at least one; 0 for none.
        seed: which groups follows from it.

    Raises:
        ValueError: a single group, which cannot be divided.
    """
    if share == 0:
        return Parts(None, train)
    groups = train.group.unique()
    if len(groups) < 2:
        raise ValueError(
            f"a teacher share of {share:g} sets whole groups (subjects) aside, but the training "
            "rows are of a single one; take more groups, or a share of 0"
        )
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    count = max(1, int(share * len(groups)))
    aside = torch.isin(train.group, groups[order[:count]])
    return Parts(train.subset(aside), train.subset(~aside))


def folds_of(pairs: PairedDataset, folds: int) -> int:
    """As many folds as asked for, or one for each group (at least 3) where there are fewer."""
    return max(3, min(folds, len(pairs.group.unique())))


def check_case(case: str, setting: Setting) -> None:
    """Refuse a case that a setting has no teacher for.

    Raises:
        ValueError: an unknown case, or transfer without rows of other groups or another corpus.
    """
    if case not in CASES:
        raise ValueError(f"unknown case {case!r}; the cases are {', '.join(CASES)}")
    if case == "transfer" and not setting.teacher_share and setting.teacher_load is None:
        raise ValueError(
            "a transfer teacher is trained on other rows than the pairs, and this setting has "
            "none; set Setting.teacher_share (--teacher-share 0.5) to set training subjects "
            "aside, or Setting.teacher_load to another corpus"
        )
