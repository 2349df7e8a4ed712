"""Triplets across modalities: the positive nearer than the negative by a margin."""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.kernels import khn
from xdistill.kernels.mined.relations import Positives
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts, require_positive
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.registry import register_loss

Selection = Literal["semihard", "hard", "all"]


def triplet(
    anchor: Float[Tensor, "b d"],
    key: Float[Tensor, "b d"],
    target: Int64[Tensor, " b"] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    index: Int64[Tensor, " b"] | None = None,
    margin: float = 0.2,
    mining: Selection = "semihard",
    positives: Positives = "class",
) -> Float[Tensor, ""]:
    """Mean over the selected (a, p, n) of relu(d_ap − d_an + margin), d the squared distance.

    Schroff et al., FaceNet, CVPR 2015, eq. 3, on rows of length one (d lies between 0 and 4), with
    anchors of one modality and positives and negatives of the other. They sum over the triplets;
    the mean does not grow with the batch. The negatives of each (a, p) are, for `mining`,

    - "semihard": the nearest with d_ap < d_an < d_ap + margin, if there is one (eq. 4);
    - "hard": the nearest one, whether or not it violates the margin;
    - "all": every one, whether or not it violates the margin.

    Positives are the own pair and, with `positives="class"`, the keys of the anchor's class;
    negatives are the keys of other classes. An unlabelled anchor has its own pair as its only
    positive and all other rows as negatives; for a labelled anchor an unlabelled key is neither.
    Rows of the same `index` are never negatives. With nothing selected, value and gradient are 0.
    """
    keep = row_mask(valid, anchor)
    a, p = unit_rows(zero_rows(anchor, keep)), unit_rows(zero_rows(key, keep))
    return khn(
        a,
        p,
        target,
        margin=margin,
        num_negatives=1,
        mining=mining,
        positives=positives,
        valid=keep,
        index=index,
    )


@register_loss("triplet")
class Triplet(Loss):
    """A student row nearer to its teacher's row (and class) than to others by a margin.

    Args:
        margin: m, in squared distance between rows of length one (0 to 4).
        mining: "semihard", "hard" or "all"; see `triplet`. "hard" alone can pull all rows into one
            point early in training.
        positives: "class" makes keys of the anchor's class positives, "pair" its own alone.
        symmetric: add the direction whose anchors are the teacher's rows.
        dim: width of the shared space; makes projectors in `bind`.
    """

    name = "triplet"
    formula = "mean over triplets of relu(d_ap − d_an + m), d = ‖f_s − f_t‖²"
    paper = "Schroff et al., CVPR 2015"
    uses = ("labels", "index")

    def __init__(
        self,
        margin: float = 0.2,
        mining: Selection = "semihard",
        positives: Positives = "class",
        symmetric: bool = False,
        dim: int | None = None,
    ):
        super().__init__()
        require_counts(self.name, dim=dim)
        for name, value, options in (
            ("mining", mining, get_args(Selection)),
            ("positives", positives, get_args(Positives)),
        ):
            if value not in options:
                raise ValueError(f"triplet: {name} must be one of {options}, got {value!r}")
        if margin <= 0:
            raise ValueError(f"triplet: margin must be positive, got {margin}")
        require_positive(self.name, margin=margin)
        self.margin = margin
        self.mining: Selection = mining
        self.positives: Positives = positives
        self.symmetric = symmetric
        self.dim = dim

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        options = (target, valid, index, self.margin, self.mining, self.positives)
        value = triplet(student.embedding, teacher.embedding, *options)
        if self.symmetric:
            value = value + triplet(teacher.embedding, student.embedding, *options)
        return value
