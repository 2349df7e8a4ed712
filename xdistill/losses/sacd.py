"""Structure-aware contrastive distillation."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.kernels.khn import Form
from xdistill.kernels.mined.mining import Mining
from xdistill.kernels.mined.relations import Positives
from xdistill.losses.ccl import Composition, composition_loss
from xdistill.losses.khn import KHN, Rows
from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.loss import width
from xdistill.losses.parts.options import (
    require_counts,
    require_not_negative,
    require_num_classes,
    require_positive,
)
from xdistill.losses.parts.structure import GraphSimilarity, affinity
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.losses.sp import sp
from xdistill.registry import register_loss
from xdistill.types import Outputs

Structure = Literal["affinity", "graph", "gram"]
Space = Literal["projected", "raw"]


@register_loss("sacd")
class SACD(KHN):
    """contrast_weight · L_con + structure_weight · L_str (+ composition_weight · L_com).

    Han et al., "Seeing your sleep stage: cross-modal distillation from EEG to infrared video", 2022
    (arXiv 2208.05814). L_con is `KHN`. L_str compares the graphs that the samples of the batch form
    in the two modalities; the paper gives no equation for their edges, so the definition in
    `losses.parts.structure` is our own. The transfer is one-way: gradient reaches the student and
    its projector, but neither the teacher nor the teacher's projector. L_com is the composition
    branch of CCL, as in the authors' training loop.

    The task's cross-entropy is not included: `CrossEntropy() + SACD(dim=128)`. `terms` holds each
    part, unweighted, as "sacd/contrast", "sacd/structure" and "sacd/composition".

    Args:
        dim: width D of the shared space; None makes projectors only where the widths differ.
        structure: "affinity" (KL between rows of cosines), "graph" (pooled and scored; a bias alone
            can satisfy it), "gram" (as `sp`), or None for no such term.
        structure_weight: weight of L_str. "gram" is small by a factor of B²; weigh it as `sp`
            (3000).
        contrast_weight: weight of L_con.
        structure_temperature: divides the cosines in "affinity".
        structure_neighbours: keep of each row only the edges to this many nearest rows in the
            teacher's graph; None keeps all.
        structure_space: "raw" compares the graphs of the encoders' own embeddings, whose widths may
            differ; "projected" those in the shared space, where the teacher's graph moves with its
            projector. None takes "raw", but "projected" for "graph".
        composition: add L_com, which needs class logits and `num_classes`.
        composition_weight: weight of L_com.
        num_classes: number of classes, where `bind` is not given it.

    The other arguments are those of `KHN`.
    """

    name = "sacd"
    formula = "w_con·khn + w_str·structure"
    paper = "Han et al., 2022"
    uses = ("labels", "index", "logits")

    def __init__(
        self,
        *,
        dim: int | None = 128,
        margin: float = 0.5,
        num_negatives: int = 5,
        bank_size: int = 4096,
        form: Form = "triplet",
        mining: Mining = "semihard",
        positives: Positives = "class",
        symmetric: bool = True,
        structure: Structure | None = "affinity",
        structure_weight: float = 4.0,
        contrast_weight: float = 1.0,
        structure_temperature: float = 0.1,
        structure_neighbours: int | None = None,
        structure_space: Space | None = None,
        composition: bool = False,
        composition_weight: float = 1.0,
        temperature: float = 0.1,
        teacher_momentum: float = 0.999,
        seed: int = 0,
        student_dim: int | None = None,
        teacher_dim: int | None = None,
        num_classes: int | None = None,
    ):
        super().__init__(
            margin=margin,
            num_negatives=num_negatives,
            bank_size=bank_size,
            form=form,
            mining=mining,
            positives=positives,
            symmetric=symmetric,
            temperature=temperature,
            teacher_momentum=teacher_momentum,
            seed=seed,
            dim=dim,
        )
        require_positive(self.name, structure_temperature=structure_temperature)
        require_counts(
            self.name,
            structure_neighbours=structure_neighbours,
            student_dim=student_dim,
            teacher_dim=teacher_dim,
            num_classes=num_classes,
        )
        _check(structure, structure_space)
        self.structure = structure
        require_not_negative(
            self.name,
            structure_weight=structure_weight,
            contrast_weight=contrast_weight,
            composition_weight=composition_weight,
        )
        self.structure_weight = structure_weight
        self.contrast_weight = contrast_weight
        self.structure_temperature = structure_temperature
        self.structure_neighbours = structure_neighbours
        self.structure_space = structure_space or ("projected" if structure == "graph" else "raw")
        self.composition = composition
        self.composition_weight = composition_weight
        self.num_classes = num_classes
        self.graph: GraphSimilarity | None = None
        self.composer: Composition | None = None
        self._bind_given(student_dim, teacher_dim, num_classes)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        super().bind(student, teacher, num_classes, num_samples)
        if self.structure == "graph" and self.graph is None:
            self.graph = GraphSimilarity(self.shared_width(width(student)))
        if self.composition and self.composer is None:
            classes = require_num_classes(
                self.label,
                "with composition=True learns a classifier",
                self.num_classes,
                num_classes,
            )
            self.composer = Composition(self.shared_width(width(student)), classes)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        rows = self.rows(student, teacher, target, valid, index)
        parts = {"contrast": (self.contrast_weight, self.contrast(rows))}
        if self.structure is not None:
            parts["structure"] = (self.structure_weight, self._structure(student, teacher, rows))
        if self.composition:
            parts["composition"] = (self.composition_weight, self._compose(student, rows))
        self.record({name: part for name, (_, part) in parts.items()})
        return torch.stack([weight * part for weight, part in parts.values()]).sum()

    def _structure(self, student: Outputs, teacher: Outputs, rows: Rows) -> Float[Tensor, ""]:
        raw = self.structure_space == "raw"
        v, e = (student.embedding, teacher.embedding) if raw else (rows.student, rows.teacher)
        e = e.detach()
        if self.structure == "gram":
            return sp(unit_rows(v), unit_rows(e), rows.keep)
        if self.graph is not None:
            return self.graph(unit_rows(v), unit_rows(e), rows.keep)
        return affinity(v, e, rows.keep, self.structure_temperature, self.structure_neighbours)

    def _compose(self, student: Outputs, rows: Rows) -> Float[Tensor, ""]:
        require_logits("sacd with composition=True", student)
        if self.composer is None or student.logits is None:
            raise ValueError("sacd with composition=True must be bound first; call bind")
        logits = student.logits
        return composition_loss(
            self.composer, rows.student, rows.teacher, logits, rows.target, rows.keep
        )


def _check(structure: str | None, space: str | None) -> None:
    if structure not in (None, *get_args(Structure)):
        raise ValueError(
            f"sacd: unknown structure {structure!r}; choose one of {get_args(Structure)} or None"
        )
    if space not in (None, *get_args(Space)):
        raise ValueError(
            f"sacd: unknown structure_space {space!r}; choose one of {get_args(Space)} or None"
        )
    if structure == "graph" and space == "raw":
        raise ValueError(
            "structure='graph' scores embeddings of one width; use structure_space='projected'"
        )
