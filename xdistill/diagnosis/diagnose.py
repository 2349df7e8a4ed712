"""Will distillation help on this pair of signals? An answer in a minute, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from xdistill.data.any_dataset import as_paired
from xdistill.data.loader import paired_loader
from xdistill.data.paired import PairedDataset
from xdistill.diagnosis.expected import Expected, expected_gain
from xdistill.diagnosis.measures import Measures, Sides, measure
from xdistill.eval_mode import eval_mode
from xdistill.types import Outputs

FEW_LABELS = 10


@dataclass(frozen=True)
class Diagnosis:
    """What was measured, and what gain it lets one expect.

    Attributes:
        measures: scores of linear probes and of the teacher on validation rows.
        expected: the gain over a student that learns from the labelled rows alone.
        notes: what makes the answer doubtful.
    """

    measures: Measures
    expected: Expected
    notes: tuple[str, ...]

    def __str__(self) -> str:
        one, expected = self.measures, self.expected
        rows = [
            ("rows, labelled", f"{one.rows}, {one.labelled}"),
            *(
                (f"{side}, probe on {fraction:.0%} of the labels", f"{100 * value:.1f}")
                for side, curve in (("student", one.student_probe), ("teacher", one.teacher_probe))
                for fraction, value in curve.items()
            ),
            ("student and teacher, probe", f"{100 * one.both_probe:.1f}"),
            ("student, probe taught by the teacher", f"{100 * one.distilled_probe:.1f}"),
            ("teacher's own answers", f"{100 * one.teacher:.1f}"),
            (
                "student about teacher, about label",
                f"{one.teacher_information:.2f}, {one.label_information:.2f} nats",
            ),
        ]
        lines = [f"  {name:<40} {value}" for name, value in rows]
        lines += [
            f"expected gain over the labelled rows alone: {100 * expected.gain:+.0f} points of "
            f"macro-F1, {100 * expected.low:+.0f} to {100 * expected.high:+.0f} in four of five "
            "cases"
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def diagnose(
    student: nn.Module,
    teacher: nn.Module,
    train: Any,
    val: Any,
    *,
    batch_size: int = 256,
) -> Diagnosis:
    """What a student may gain by a teacher, before it is trained.

    Linear classifiers on both embeddings say what labels and teacher bring to a linear student. The
    expected gain does not follow from them: on sources of data that were left out, the share of
    rows with a label was the only predictor that helped, see docs/diagnose.md.

    Args:
        student: an encoder with `modality`, untrained, pretrained or trained on the labelled rows.
        teacher: a trained encoder with `modality` and logits. Where `train` has its cached outputs
            (`cache_teacher`, `cross_fit_teacher`) they are taken instead.
        train: labelled rows and, where there are some, unlabelled ones, with both modalities.
        val: labelled rows of other subjects, with both modalities.
        batch_size: rows of a forward pass.

    Raises:
        ValueError: fewer than two classes or no labelled row, a modality that no row has, or a
            teacher without logits or with another number of classes.
    """
    train, val = as_paired(train), as_paired(val)
    learned = _sides(student, teacher, train, "train", batch_size)
    judged = _sides(student, teacher, val, "val", batch_size)
    num_classes = len(train.classes)
    logits = learned.teacher.logits
    if logits is None or logits.shape[1] != num_classes:
        got = "none" if logits is None else f"{logits.shape[1]} of them"
        raise ValueError(
            f"the teacher must answer with logits of the {num_classes} classes, got {got}; create "
            "it with num_classes and train it first"
        )
    measures = measure(learned, judged, num_classes)
    expected = expected_gain(measures.rows, measures.labelled)
    return Diagnosis(measures, expected, _notes(measures, train))


def _sides(
    student: nn.Module, teacher: nn.Module, part: PairedDataset, name: str, batch_size: int
) -> Sides:
    """Outputs of both networks for the rows that have both modalities.

    Raises:
        ValueError: no such row, or none that is labelled.
    """
    own, other = (str(getattr(one, "modality", "")) for one in (student, teacher))
    for modality in (own, other):
        if modality not in part.inputs and modality not in part.cached:
            raise ValueError(
                f"{name} has no modality {modality!r}, it has {sorted(part.inputs)}; give networks "
                "whose `modality` is one of these"
            )
    rows = part.rows_with(own) & part.rows_with(other)
    if part.target_kind != "class":
        raise ValueError(
            f"{name} has targets of the kind {part.target_kind!r}; diagnose needs one class a row"
        )
    if len(part.target[rows].unique().clamp(min=-1)) < 2 or int(part.target[rows].max()) < 1:
        raise ValueError(
            f"{name} has {int(rows.sum())} rows with both {own!r} and {other!r}, and "
            f"{int((part.target[rows] >= 0).sum())} of them are labelled; expected labelled rows "
            "of two classes at least"
        )
    both = part.subset(rows.nonzero().flatten())
    taught = both.cached.get(other)
    return Sides(
        outputs_of(student, both, own, batch_size),
        outputs_of(teacher, both, other, batch_size) if taught is None else taught,
        both.target,
    )


@torch.no_grad()
def outputs_of(
    network: nn.Module, part: PairedDataset, modality: str, batch_size: int = 256
) -> Outputs:
    """Embeddings and logits of a network in eval mode, on the CPU."""
    device = next((one.device for one in network.parameters()), torch.device("cpu"))
    alone = part.replace(inputs={modality: part.inputs[modality]}, cached={}, valid={})
    embeddings, logits = [], []
    with eval_mode(network):
        for batch in paired_loader(alone, batch_size):
            outputs = network(batch.inputs[modality].to(device))
            embeddings.append(outputs.embedding.float().cpu())
            if outputs.logits is not None:
                logits.append(outputs.logits.float().cpu())
    return Outputs(torch.cat(embeddings), torch.cat(logits) if logits else None)


def _notes(measures: Measures, train: PairedDataset) -> tuple[str, ...]:
    notes = []
    counts = torch.bincount(train.target[train.target >= 0], minlength=len(train.classes))
    if int(counts.min()) < FEW_LABELS:
        least = train.classes[int(counts.argmin())]
        notes.append(
            f"class {least!r} has {int(counts.min())} labelled rows: probes on so few are noisy"
        )
    if measures.labelled == measures.rows:
        notes.append(
            "every row is labelled: with all labels no method was clearly better than the student "
            "alone on any set of the suite"
        )
    if not measures.complementary:
        notes.append(
            "the student's embedding says more about the label than about the teacher: by the "
            "criterion of arXiv 2510.13182 distillation has little to add"
        )
    return tuple(notes)
