"""What can be done to a teacher's cached outputs before a student learns from them, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import nn

from xdistill.data.calibrate import calibrate_teacher
from xdistill.data.paired import PairedDataset
from xdistill.data.refine import refine_targets
from xdistill.experiment.setting import Setting


class Given(NamedTuple):
    """What a preparation may use beside the rows.

    Attributes:
        setting: of the student.
        teacher: the trained teacher, whose outputs the rows have.
        seed: of the student.
    """

    setting: Setting
    teacher: nn.Module
    seed: int


Preparation = Callable[[PairedDataset, str, Given], PairedDataset]
"""Takes the rows as the student sees them (hidden labels are -1), with cached outputs of the
teacher of a modality, and what else is given; returns the rows with other outputs."""


def calibrated(train: PairedDataset, modality: str, given: Given) -> PairedDataset:
    """Logits at the temperature that fits the labels that the student sees."""
    return calibrate_teacher(train, modality)


def refined(train: PairedDataset, modality: str, given: Given) -> PairedDataset:
    """Log probabilities, corrected and smoothed over a graph with the student's inputs."""
    student = given.setting.student
    with torch.random.fork_rng(devices=[]):  # augmented, as the student sees it
        torch.manual_seed(given.seed)
        seen = torch.stack([train.read(student, row).flatten() for row in range(len(train))])
    return refine_targets(train, modality, seen)


PREPARED: Mapping[str, Preparation] = {"calibrated": calibrated, "refined": refined}
"""By name, as a method has it: "calibrated+pseudo_label/soft", "refined+dist"."""


def prepare_targets(
    method: str, train: PairedDataset, teachers: Mapping[str, Given]
) -> PairedDataset:
    """Apply the preparations that a method names, in their order, to every teacher's outputs."""
    for name in method.split("+"):
        for modality, given in teachers.items():
            if name in PREPARED:
                train = PREPARED[name](train, modality, given)
    return train
