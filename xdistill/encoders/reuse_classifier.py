"""A student that ends in its teacher's classifier."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from xdistill.registry import create_projector
from xdistill.types import Outputs


def reuse_classifier(
    student: nn.Module,
    teacher: nn.Module,
    adapter: str = "mlp",
    classifier: nn.Module | None = None,
) -> ReusedClassifier:
    """The student, followed by an adapter to the teacher's width and the teacher's classifier.

    Chen et al., "Knowledge distillation with the reused teacher classifier", CVPR 2022; trained
    with `xd.SimKD`. Call it after the teacher has been trained, because the classifier is copied.

    Args:
        student: an encoder; its own classifier, if it has one, is not used.
        teacher: a trained encoder.
        adapter: a registered projector from the student's width to the teacher's.
        classifier: the layer that maps the teacher's embedding to logits; None for
            `teacher.head.classifier`, where the encoders of this package have it.

    Raises:
        ValueError: no classifier is found, it does not read the teacher's embedding, or the number
            of classes is unknown.
    """
    if classifier is None:
        classifier = getattr(getattr(teacher, "head", None), "classifier", None)
    if not isinstance(classifier, nn.Module):
        raise ValueError(
            f"{type(teacher).__name__} has no head.classifier to reuse; create the teacher with "
            "num_classes, or pass its last layer as classifier="
        )
    dim = int(teacher.dim)  # type: ignore[arg-type]
    in_features = getattr(classifier, "in_features", dim)
    num_classes: Any = getattr(classifier, "out_features", getattr(teacher, "num_classes", None))
    if in_features != dim:
        raise ValueError(
            f"the classifier reads {in_features} features, but the teacher's embedding has {dim}; "
            "pass the layer that reads the embedding as classifier="
        )
    if num_classes is None:
        raise ValueError(
            f"neither the classifier ({type(classifier).__name__}) nor the teacher says how many "
            "classes there are; set teacher.num_classes"
        )
    return ReusedClassifier(student, classifier, adapter, dim, int(num_classes))


class ReusedClassifier(nn.Module):
    """An encoder with an embedding of the teacher's width and the teacher's classifier.

    The classifier is a copy and part of the `state_dict`. It stays frozen and in eval mode;
    gradients pass through it. Created by `reuse_classifier`.

    Args:
        student: the encoder that is trained.
        classifier: maps embeddings [B, dim] to logits [B, num_classes].
        adapter: a registered projector from the student's width to `dim`.
        dim: width of the teacher's embedding.
        num_classes: number of classes K.
    """

    def __init__(
        self, student: nn.Module, classifier: nn.Module, adapter: str, dim: int, num_classes: int
    ):
        super().__init__()
        self.modality = str(student.modality)
        self.dim = dim
        self.num_classes = num_classes
        self.student = student
        self.adapter = create_projector(adapter, int(student.dim), dim)  # type: ignore[arg-type]
        self.classifier = copy.deepcopy(classifier).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> ReusedClassifier:
        """Train mode for student and adapter; the classifier stays in eval."""
        super().train(mode)
        self.classifier.eval()
        return self

    def forward(self, x: Tensor) -> Outputs:
        outputs: Outputs = self.student(x)
        embedding = self.adapter(outputs.embedding)
        return Outputs(embedding, self.classifier(embedding), outputs.hidden)
