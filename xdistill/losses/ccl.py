"""Compositional contrastive learning: student, teacher, and the composition of both."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from xdistill.losses.cross_entropy import cross_entropy
from xdistill.losses.jeffreys import jeffreys
from xdistill.losses.multiclass_nce import symmetric_nce
from xdistill.losses.parts.checks import require_classes, require_logits
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import (
    require_counts,
    require_not_negative,
    require_num_classes,
    require_positive,
)
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.registry import register_loss


class Composition(nn.Module):
    """m = t + W[t̂; ŝ] and its classifier (Chen et al., CVPR 2021).

    ŝ and t̂ are the rows of s and t at length one.

    Args:
        dim: width D of both embeddings.
        num_classes: number of classes K.
    """

    def __init__(self, dim: int, num_classes: int):
        super().__init__()
        self.dim = dim
        self.num_classes = num_classes
        self.residual = nn.Linear(2 * dim, dim)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(
        self, student_emb: Float[Tensor, "b d"], teacher_emb: Float[Tensor, "b d"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """The composed embeddings [B, D] and their class logits [B, K].

        Raises:
            ValueError: an embedding is not D wide.
        """
        for role, emb in (("student", student_emb), ("teacher", teacher_emb)):
            if emb.shape[1] != self.dim:
                raise ValueError(
                    f"the composition was made for width {self.dim}, the {role}'s embedding has "
                    f"{emb.shape[1]}; attach the projectors before bind, or give the right dim"
                )
        both = torch.cat([unit_rows(teacher_emb), unit_rows(student_emb)], dim=1)  # [B, 2D]
        emb_m = teacher_emb + self.residual(both)
        return emb_m, self.classifier(emb_m)


class CompositionTerms(NamedTuple):
    """The parts of `composition_loss`, unweighted scalars.

    Attributes:
        classification: cross-entropy of the composed logits on labelled rows; 0 without target.
        contrast: NCE(s, m) + NCE(s, t), each in both directions.
        divergence: Jeffreys(z_s, z_m).
    """

    classification: Float[Tensor, ""]
    contrast: Float[Tensor, ""]
    divergence: Float[Tensor, ""]


def composition_terms(
    composition: Composition,
    s: Float[Tensor, "b d"],
    t: Float[Tensor, "b d"],
    student_logits: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"] | None,
    valid: Bool[Tensor, " b"] | None,
    temperature: float,
) -> CompositionTerms:
    """The terms of CCL's composition branch (Chen et al., CVPR 2021).

    The contrast and the divergence are the student's own terms and give it their whole gradient, as
    in the authors' training loop. The classification trains the composition alone: it is computed
    from s detached. The composition learns from all three.

    Without a target, the classification is 0 and the contrast is by pairs.
    """
    keep = row_mask(valid, s)
    s, t = zero_rows(s, keep), zero_rows(t, keep)
    emb_m, logits_m = composition(s, t)
    contrast = symmetric_nce(s, emb_m, target, keep, temperature) + symmetric_nce(
        s, t, target, keep, temperature
    )
    return CompositionTerms(
        classification=classification(composition, s.detach(), t, target, keep),
        contrast=contrast,
        divergence=jeffreys(student_logits, logits_m, keep),
    )


def classification(
    composition: Composition,
    s: Float[Tensor, "b d"],
    t: Float[Tensor, "b d"],
    target: Int64[Tensor, " b"] | None,
    keep: Bool[Tensor, " b"],
) -> Float[Tensor, ""]:
    """Cross-entropy of the composed logits over the labelled rows that count."""
    if target is None:
        return s.new_zeros(())
    labels = torch.where(keep, target, torch.full_like(target, -1))
    return cross_entropy(composition(s, t)[1], labels)


def composition_loss(
    composition: Composition,
    s: Float[Tensor, "b d"],
    t: Float[Tensor, "b d"],
    student_logits: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 0.5,
    divergence_weight: float = 0.5,
) -> Float[Tensor, ""]:
    """CE(m) + NCE(s, m) + NCE(s, t) + divergence_weight · Jeffreys(z_s, z_m).

    Where gradient goes: `composition_terms`.
    """
    terms = composition_terms(composition, s, t, student_logits, target, valid, temperature)
    return terms.classification + terms.contrast + divergence_weight * terms.divergence


@register_loss("ccl")
class CCL(Loss):
    """Contrast student, teacher and their composition by class (Chen et al., CVPR 2021).

    Formula and gradients: `composition_loss`. The student's own cross-entropy is a separate loss.
    The authors' code also trains the composition on NCE(m, t); that is left out.

    The composition is made here when `dim` and `num_classes` are given, else by `bind`, after any
    projector was attached.

    Args:
        temperature: divides the cosines; 0.5 suits an audio teacher, 0.1 an image teacher.
        divergence_weight: weight of the Jeffreys divergence between student and composition.
        dim: width of the shared space; makes projectors in `bind`.
        num_classes: number of classes K.
    """

    name = "ccl"
    formula = "CE(m) + NCE(s,m) + NCE(s,t) + ½·J(z_s, z_m)"
    paper = "Chen et al., CVPR 2021"
    needs = ("embedding", "logits")
    uses = ("labels",)

    def __init__(
        self,
        temperature: float = 0.5,
        divergence_weight: float = 0.5,
        dim: int | None = None,
        num_classes: int | None = None,
    ):
        super().__init__()
        require_counts(self.name, dim=dim, num_classes=num_classes)
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature
        require_not_negative(self.name, divergence_weight=divergence_weight)
        self.divergence_weight = divergence_weight
        self.dim = dim
        self.num_classes = num_classes
        self.composition: Composition | None = None
        if dim is not None and num_classes is not None:
            self.composition = Composition(dim, num_classes)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        super().bind(student, teacher, num_classes, num_samples)
        if self.composition is None:
            classes = require_num_classes(
                self.name, "classifies its composition", self.num_classes, num_classes
            )
            self.composition = Composition(self.shared_width(width(student)), classes)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student)
        terms = composition_terms(
            self._composition_for(student.logits),
            student.embedding,
            teacher.embedding,
            student.logits,
            target,
            valid,
            self.temperature,
        )
        self.record(terms._asdict())
        return terms.classification + terms.contrast + self.divergence_weight * terms.divergence

    def _composition_for(self, logits: Float[Tensor, "b k"]) -> Composition:
        if self.composition is None:
            raise ValueError(
                "ccl has no composition yet; call loss.bind(student, teacher, num_classes) or "
                "create it with dim and num_classes"
            )
        require_classes(self.name, self.composition.num_classes, logits)
        return self.composition
