"""Compositional contrastive learning."""

from __future__ import annotations

from xdistill.losses.composition import Composition, composition_terms
from xdistill.losses.loss import Loss, require_logits, width
from xdistill.losses.options import require_num_classes
from xdistill.registry import register_loss


@register_loss("ccl")
class CCL(Loss):
    """Student, teacher and their composition, told apart by class (Chen et al., CVPR 2021).

    Formula and gradients: `composition.composition_loss`. The student's own cross-entropy is a
    separate loss. The authors' code also trains the composition on NCE(m, t); that is left out.

    The composition is made here when both widths are given, else by `bind`, after any projector
    was attached.

    Args:
        tau: temperature of the cosines; 0.5 suits an audio teacher, 0.1 an image teacher.
        divergence_weight: of the Jeffreys divergence between student and composition.
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
        tau: float = 0.5,
        divergence_weight: float = 0.5,
        dim: int | None = None,
        num_classes: int | None = None,
    ):
        super().__init__()
        self.tau = tau
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
            self._composition_for(student.logits.shape[1]),
            student.embedding,
            teacher.embedding,
            student.logits,
            target,
            valid,
            self.tau,
        )
        parts = terms._asdict().items()
        self.terms = {f"{self.label}/{part}": value.detach() for part, value in parts}
        return terms.classification + terms.contrast + self.divergence_weight * terms.divergence

    def _composition_for(self, classes: int) -> Composition:
        if self.composition is None:
            raise ValueError(
                "ccl has no composition yet; call loss.bind(student, teacher, num_classes) or "
                "create it with dim and num_classes"
            )
        if self.composition.num_classes != classes:
            raise ValueError(
                f"ccl was made for {self.composition.num_classes} classes, the student has "
                f"{classes}; give both one num_classes"
            )
        return self.composition
