"""What is measured on the embeddings of both sides before a student is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.diagnosis.information import gaussian_information, label_information
from xdistill.diagnosis.probe import PENALTIES, fit_probe
from xdistill.metrics import score
from xdistill.types import Outputs

FRACTIONS = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Sides:
    """Outputs of both networks for the same rows, and the labels.

    Attributes:
        student: of N rows.
        teacher: of the same rows, with logits.
        target: [N] class, -1 where unlabelled.
    """

    student: Outputs
    teacher: Outputs
    target: Int64[Tensor, " n"]


@dataclass(frozen=True)
class Measures:
    """Scores are macro-F1 on validation rows, 0 to 1; information is in nats.

    Attributes:
        rows: of the training set.
        labelled: how many of them have a label.
        student_probe: of a linear classifier on the student's embedding, fitted on these shares of
            the labelled rows.
        teacher_probe: the same on the teacher's.
        both_probe: on both embeddings, fitted on all labelled rows.
        distilled_probe: on the student's, fitted on all rows: on the labels where there are some,
            elsewhere on the teacher's probabilities.
        teacher: of the teacher's own answers.
        teacher_information: of the student's embedding about the teacher's.
        label_information: of the student's embedding about the label.
    """

    rows: int
    labelled: int
    student_probe: dict[float, float]
    teacher_probe: dict[float, float]
    both_probe: float
    distilled_probe: float
    teacher: float
    teacher_information: float
    label_information: float

    @property
    def probe_gain(self) -> float:
        """What a linear student gains by the teacher."""
        return self.distilled_probe - self.student_probe[1.0]

    @property
    def complementary(self) -> bool:
        """Whether the student's embedding says more about the teacher's than about the label.

        The condition of Xie, Xu & Sanguinetti, "Information-theoretic criteria for knowledge
        distillation in multimodal learning", arXiv 2510.13182, with our estimates of both sides.
        """
        return self.teacher_information > self.label_information


def measure(train: Sides, val: Sides, num_classes: int) -> Measures:
    """Fit the probes and score them.

    Each probe has the penalty with which it is best on the validation rows, all alike, so that
    their differences are fair though each is a little too good.
    """
    known = train.target >= 0
    seen = val.target >= 0
    right = val.target[seen]

    def best(x: Tensor, targets: Tensor, on: Tensor) -> tuple[float, Tensor]:
        """The score of the best probe, and its logits on the labelled validation rows."""
        answers = [fit_probe(x, targets, penalty).logits(on[seen]) for penalty in PENALTIES]
        scores = [score(each, right, num_classes).macro_f1 for each in answers]
        place = scores.index(max(scores))
        return scores[place], answers[place]

    labels = F.one_hot(train.target[known], num_classes).double()
    order = _spread(train.target[known])
    pairs = [
        (train.student.embedding, val.student.embedding),
        (train.teacher.embedding, val.teacher.embedding),
    ]
    curves: list[dict[float, float]] = []
    answers: list[Tensor] = []
    for ours, theirs in pairs:
        curve = {}
        for fraction in FRACTIONS:  # the last is all
            rows = order[: max(1, round(fraction * len(order)))]
            curve[fraction], last = best(ours[known][rows], labels[rows], theirs)
        curves.append(curve)
        answers.append(last)
    both = [torch.cat(each, dim=1) for each in zip(*pairs, strict=True)]
    assert train.teacher.logits is not None and val.teacher.logits is not None
    told = train.teacher.logits.double().softmax(dim=1)
    told[known] = labels
    return Measures(
        rows=len(train.target),
        labelled=int(known.sum()),
        student_probe=curves[0],
        teacher_probe=curves[1],
        both_probe=best(both[0][known], labels, both[1])[0],
        distilled_probe=best(pairs[0][0], told, pairs[0][1])[0],
        teacher=score(val.teacher.logits[seen], right, num_classes).macro_f1,
        teacher_information=gaussian_information(pairs[0][0], pairs[1][0]),
        label_information=label_information(answers[0], right),
    )


def _spread(target: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """An order of the rows in which every beginning holds the classes as evenly as it can."""
    turn = torch.zeros(len(target), dtype=torch.long)
    for label in target.unique():
        of_class = target == label
        turn[of_class] = torch.arange(int(of_class.sum()))
    return turn.argsort(stable=True)
