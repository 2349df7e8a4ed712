"""Centred kernel alignment with a linear kernel."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.centred_rows import centred_rows
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.registry import register_loss


def cka(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """1 − ⟨K_s, K_t⟩ / (‖K_s‖ ‖K_t‖) with K = X Xᵀ of the centred rows, Frobenius norms.

    Kornblith et al., ICML 2019, eqs. 3 and 4 with a linear kernel, where it equals ‖X_tᵀ X_s‖² /
    (‖X_sᵀ X_s‖ ‖X_tᵀ X_t‖); as a loss of distillation, Saha et al., BMVC 2022. The widths may
    differ. It ranges from 0 to 1 and is invariant to translation, rotation, reflection and scaling
    of either side.

    Where all rows of one side are equal the ratio is 0/0. If they are the teacher's there is
    nothing to learn and the value is 0, as for a single row; if the student's alone it is 1. Both
    have a gradient of 0. Embeddings whose spread is under 1e-8 count as equal.
    """
    keep = row_mask(valid, student)
    ours, theirs = unit_gram(centred_rows(student, keep)), unit_gram(centred_rows(teacher, keep))
    return theirs.square().sum() - (ours * theirs).sum()


def unit_gram(x: Float[Tensor, "b d"]) -> Float[Tensor, "b b"]:
    """X Xᵀ divided by its Frobenius norm; zeros for an X of norm under 1e-8."""
    # X is brought to norm 1 first: then the norm of X Xᵀ lies between 1/√B and 1.
    x = unit_rows(x.flatten()[None]).view_as(x)
    gram = x @ x.T
    unit = unit_rows(gram.flatten()[None]).view_as(gram)
    return torch.where(gram.detach().diagonal().sum() > 0.5, unit, torch.zeros_like(unit))


@register_loss("cka")
class CKA(Loss):
    """Rows that are similar for the teacher become similar for the student.

    It needs no adapter. In batches with no more rows than columns linear CKA is high even between
    unrelated embeddings (1 in the limit of wide ones), so compare values only between batches of
    one size, and prefer large batches. Other kernels: `hsic`.
    """

    name = "cka"
    formula = "1 − ⟨K_s, K_t⟩/(‖K_s‖‖K_t‖)"
    paper = "Kornblith et al., ICML 2019; Saha et al., BMVC 2022"
    shared_space = False

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return cka(student.embedding, teacher.embedding, valid)
