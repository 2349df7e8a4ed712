"""N-to-one representation matching: many views of the student's features, one of the teacher's."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.losses.parts.layers import hidden_shapes
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss

EXPANDED = "norm_expanded"
"""Hidden features of a student from `xd.expand_student`."""


def norm(
    student: Float[Tensor, "b nd"],
    teacher: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over rows and the teacher's features of Σ_n (f_s^n − f_t)² (Liu et al., ICLR 2023).

    f_s^n is the n-th of the N segments of the student's expanded features.
    """
    keep = row_mask(valid, student)
    student, teacher = zero_rows(student, keep), zero_rows(teacher, keep)
    gap = student.unflatten(1, (-1, teacher.shape[1])) - teacher[:, None]  # [B, N, D]
    return masked_mean(gap.square().sum(dim=1).mean(dim=1), keep)


@register_loss("norm")
class NORM(Loss):
    """The student's features, expanded N times, match N copies of the teacher's.

    With one segment every feature of the teacher has one regressor, as in `fitnet`; with N the
    student has N of them to agree with it. Train `xd.expand_student(student, teacher, repeats)`:
    its classifier reads what the expanded features are contracted to, and `folded()` gives the
    student back without them. For another student the loss makes the expansion itself, in `bind`,
    and the classifier does not see it, which is not the paper's method but its matching alone. The
    paper matches feature maps; two modalities share no grid, so here embeddings are matched.

    Args:
        repeats: N, where the loss makes the expansion.
    """

    name = "norm"
    formula = "mean of Σ_n (A_n(f_s) − f_t)², n ≤ N"
    paper = "Liu et al., ICLR 2023"
    uses = ("hidden",)
    shared_space = False

    def __init__(self, repeats: int = 4):
        super().__init__()
        require_counts(self.name, repeats=repeats)
        self.repeats = repeats
        self.expand: nn.Module | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        expanded = EXPANDED in hidden_shapes(student) or hasattr(student, "expand")
        if self.expand is None and not expanded:
            self.expand = nn.Linear(width(student), self.repeats * width(teacher), bias=False)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        wide = student.hidden.get(EXPANDED)
        if wide is None and self.expand is not None:
            wide = self.expand(student.embedding)
        if wide is None:
            raise ValueError(
                "norm has no expanded features of the student; train xd.expand_student(student, "
                "teacher), or call loss.bind(student, teacher), which makes an expansion"
            )
        dim = teacher.embedding.shape[1]
        if wide.shape[1] % dim:
            raise ValueError(
                f"norm compares segments of the teacher's width {dim}, got {wide.shape[1]} "
                "expanded features; expand the student for this teacher"
            )
        return norm(wide, teacher.embedding, valid)
