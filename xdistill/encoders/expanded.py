"""A student with NORM's feature transform between its embedding and its classifier."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from xdistill.types import Outputs

EXPANDED = "norm_expanded"
"""Name of the expanded features in `Outputs.hidden`, where `xd.NORM` looks for them."""


def expand_student(student: nn.Module, teacher: nn.Module | int, repeats: int = 4) -> Expanded:
    """The student, its embedding f replaced by f + B·A·f before its classifier.

    Liu et al., "NORM: knowledge distillation via N-to-one representation matching", ICLR 2023;
    trained with `xd.NORM`, which compares A·f, N times as wide as the teacher's embedding, with N
    copies of that. Both maps are linear here, so that `folded()` returns the student alone with
    the same logits. The paper transforms the last feature map, by 1×1 convolutions with BatchNorm.

    Args:
        student: an encoder with a linear `head.classifier`.
        teacher: an encoder, or the width of its embedding.
        repeats: N; the paper's public code takes 1 to 16 from its command line.

    Raises:
        ValueError: no linear classifier, or fewer than one repeat.
    """
    classifier = getattr(getattr(student, "head", None), "classifier", None)
    if not isinstance(classifier, nn.Linear):
        raise ValueError(
            f"{type(student).__name__} has no linear head.classifier after the embedding; create "
            "the student with num_classes"
        )
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    dim = teacher if isinstance(teacher, int) else int(teacher.dim)  # type: ignore[arg-type]
    return Expanded(student, repeats * dim)


class Expanded(nn.Module):
    """An encoder with a linear bottleneck in reverse; see `expand_student`.

    Args:
        student: the encoder, with a linear `head.classifier`.
        width: of the expanded features.
    """

    def __init__(self, student: nn.Module, width: int):
        super().__init__()
        self.modality = str(student.modality)
        self.dim = int(student.dim)  # type: ignore[arg-type]
        self.student = student
        self.num_classes = self._classifier(student).out_features
        self.expand = nn.Linear(self.dim, width, bias=False)
        self.contract = nn.Linear(width, self.dim, bias=False)

    @staticmethod
    def _classifier(student: nn.Module) -> nn.Linear:
        return student.head.classifier  # type: ignore[union-attr, return-value]

    def forward(self, x: Tensor) -> Outputs:
        outputs: Outputs = self.student(x)
        wide = self.expand(outputs.embedding)
        embedding = outputs.embedding + self.contract(wide)
        logits = self._classifier(self.student)(embedding)
        return Outputs(embedding, logits, {**outputs.hidden, EXPANDED: wide})

    @torch.no_grad()
    def folded(self) -> nn.Module:
        """A copy of the student alone, whose classifier contains the transform: same logits."""
        student = copy.deepcopy(self.student)
        weight = self._classifier(student).weight
        weight.add_(weight @ self.contract.weight @ self.expand.weight)
        return student
