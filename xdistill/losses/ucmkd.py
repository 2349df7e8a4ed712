"""Distillation without pairs: the two batches' features align as distributions."""

from __future__ import annotations

import copy

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from xdistill.losses.parts.adapted import adapted
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts, require_not_negative, require_positive
from xdistill.losses.parts.sinkhorn import transport_cost
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import create_projector, register_loss


def feature_alignment(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
    regularisation: float = 0.1,
    iterations: int = 100,
) -> Float[Tensor, ""]:
    """Cost of moving the student's rows onto the teacher's, 1 − cosine a unit of mass.

    By Sinkhorn's algorithm (`parts.sinkhorn.transport_cost`). Which row stands beside which plays
    no role.
    """
    keep = row_mask(valid, student)
    s, t = unit_rows(zero_rows(student, keep)), unit_rows(zero_rows(teacher, keep))
    return transport_cost((1 - s @ t.T).clamp(min=0), keep, regularisation, iterations)


def label_alignment(
    student: Float[Tensor, "b k"],
    through_teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over labelled rows of −log p_s(y) + κ·log p_t(y), κ = p_t(y) a constant.

    p_t is the teacher's classifier on the student's feature: the student's own classifier is to say
    more about its feature than the teacher's does, the more so the surer that one is. It is below 0
    where it does.
    """
    keep = row_mask(valid, student) & (target >= 0)
    label = target.clamp(min=0)[:, None]
    log_s, log_t = (
        zero_rows(z, keep).log_softmax(dim=1).gather(1, label)[:, 0]
        for z in (student, through_teacher)
    )
    return masked_mean(log_t.detach().exp() * log_t - log_s, keep)


@register_loss("ucmkd")
class UCMKD(Loss):
    """Feature alignment by optimal transport, and label alignment through the teacher's classifier.

    It needs no pairs: `xd.unpaired_loader` makes batches whose teacher rows are other samples than
    the student's. The cross-entropy of the method is a separate loss here, as everywhere. Without
    the teacher's classifier there is the feature alignment alone. The public code also has a
    bilevel variant, with a gradient step inside each step, which is not here, and clamps costs at 0
    as is done here; its transport is POT's, whose gradient was not compared.

    Args:
        classifier: the teacher's, from its embedding to logits (`teacher.head.classifier`); it is
            copied and frozen. None leaves label alignment out.
        feature_weight: weight of the feature alignment.
        label_weight: weight of the label alignment.
        regularisation: ε of Sinkhorn's algorithm, in units of 1 − cosine.
        iterations: number of its iterations.
        adapter: a registered projector from the student's width to the teacher's, made in `bind`
            where the widths differ.
    """

    name = "ucmkd"
    formula = "λ_f·min_P Σ P·(1 − cos(f_s, f_t)) + λ_l·(−log p_s(y) + κ·log p_t(y | f_s)), κ = p_t"
    paper = "Cross-modal KD without paired data, ICML 2026"
    uses = ("logits", "labels")
    shared_space = False
    unpaired = True

    def __init__(
        self,
        classifier: nn.Module | None = None,
        feature_weight: float = 1.0,
        label_weight: float = 1.0,
        regularisation: float = 0.1,
        iterations: int = 100,
        adapter: str = "linear",
    ):
        super().__init__()
        require_not_negative(self.name, feature_weight=feature_weight, label_weight=label_weight)
        require_positive(self.name, regularisation=regularisation)
        require_counts(self.name, iterations=iterations)
        frozen = None if classifier is None else copy.deepcopy(classifier).requires_grad_(False)
        self.classifier = frozen
        if frozen is None:
            self.uses = ()  # type: ignore[misc]
        self.feature_weight = feature_weight
        self.label_weight = label_weight
        self.regularisation = regularisation
        self.iterations = iterations
        self.adapter_name = adapter
        self.adapter: nn.Module | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        ours, theirs = width(student), width(teacher)
        if self.adapter is None and ours != theirs:
            self.adapter = create_projector(self.adapter_name, ours, theirs)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        ours = adapted(self.name, self.adapter, student, teacher)
        features = feature_alignment(
            ours, teacher.embedding, valid, self.regularisation, self.iterations
        )
        parts = {"features": features}
        total = self.feature_weight * features
        if self.classifier is not None and target is not None and student.logits is not None:
            parts["labels"] = label_alignment(student.logits, self.classifier(ours), target, valid)
            total = total + self.label_weight * parts["labels"]
        self.record(parts)
        return total
