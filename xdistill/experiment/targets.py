"""What can be done to a teacher's cached outputs before a student learns from them, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from xdistill.data.calibrate import calibrate_teacher
from xdistill.data.paired import PairedDataset
from xdistill.data.refine import refine_targets
from xdistill.data.seen import has_vectors, seen_rows


class Given(NamedTuple):
    """What a preparation may use beside the rows.

    Attributes:
        student: modality of the student.
        trained: trains a student with the teacher's own outputs, or reads it.
        seed: of the student.
    """

    student: str
    trained: Callable[[], nn.Module]
    seed: int


Preparation = Callable[[PairedDataset, str, Given], PairedDataset]
"""Takes the rows as the student sees them (hidden labels are -1), with cached outputs of the
teacher of a modality, and what else is given; returns the rows with other outputs."""


def calibrated(train: PairedDataset, modality: str, given: Given) -> PairedDataset:
    """Logits at the temperature that fits the labels that the student sees."""
    return calibrate_teacher(train, modality)


def smoothed(train: PairedDataset, modality: str, given: Given) -> PairedDataset:
    """Log probabilities, smoothed over a graph of both modalities."""
    return refine_targets(train, modality, _seen(train, given), correct=False)


def corrected(train: PairedDataset, modality: str, given: Given) -> PairedDataset:
    """Log probabilities, corrected by the labels along that graph and smoothed."""
    return refine_targets(train, modality, _seen(train, given), correct=True)


def _seen(train: PairedDataset, given: Given) -> Tensor:
    encoder = None if has_vectors(train, given.student) else given.trained()
    return seen_rows(train, given.student, encoder, seed=given.seed)


PREPARED: Mapping[str, Preparation] = {
    "calibrated": calibrated,
    "smoothed": smoothed,
    "corrected": corrected,
}
"""By name, as a method has it: "calibrated+pseudo_label/soft", "corrected+dist"."""


def unprepared(method: str) -> str:
    """The method with the teacher's own outputs."""
    return "+".join(name for name in method.split("+") if name not in PREPARED)


def prepare_targets(
    method: str, train: PairedDataset, teachers: Iterable[str], given: Given
) -> PairedDataset:
    """Apply the preparations that a method names, in their order, to every teacher's outputs."""
    for name in method.split("+"):
        for modality in teachers:
            if name in PREPARED:
                train = PREPARED[name](train, modality, given)
    return train
