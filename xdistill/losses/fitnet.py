"""FitNets: regress the teacher's embedding from the student's."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.losses.loss import Loss, width
from xdistill.losses.masking import masked_mean, row_mask, zero_rows
from xdistill.registry import create_projector, register_loss


def fitnet(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over rows and columns of (f_s − f_t)².

    Romero et al., FitNets, 2015, eq. 3, there half the squared norm; across modalities this is
    supervision transfer (Gupta et al., CVPR 2016).
    """
    keep = row_mask(valid, student)
    gap = zero_rows(student, keep) - zero_rows(teacher, keep)
    return masked_mean(gap.square().mean(dim=1), keep)


@register_loss("fitnet")
class FitNet(Loss):
    """Squared distance of the adapted student embedding to the teacher's.

    Until `bind` is called, or both widths are given here, there is no adapter and the embeddings
    are compared as they are.

    Args:
        adapter: a registered projector from the student's width to the teacher's; "identity" needs
            equal widths.
        student_dim: width of the student's embedding.
        teacher_dim: width of the teacher's embedding.
    """

    name = "fitnet"
    formula = "mean of (A(f_s) − f_t)²"
    paper = "Romero et al., ICLR 2015; Gupta et al., CVPR 2016"
    uses = ("hidden",)
    shared_space = False
    recommended_weight = 100.0

    def __init__(
        self,
        adapter: str = "linear",
        student_dim: int | None = None,
        teacher_dim: int | None = None,
    ):
        super().__init__()
        self.adapter_name = adapter
        self.adapter: nn.Module | None = None
        if student_dim is not None and teacher_dim is not None:
            self.adapter = create_projector(adapter, student_dim, teacher_dim)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.adapter is None:
            self.adapter = create_projector(self.adapter_name, width(student), width(teacher))
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        ours = student.embedding if self.adapter is None else self.adapter(student.embedding)
        if ours.shape[1] != teacher.embedding.shape[1]:
            raise ValueError(
                f"fitnet compares embeddings of one width, got {ours.shape[1]} (student) and "
                f"{teacher.embedding.shape[1]} (teacher); call loss.bind(student, teacher) or give "
                "student_dim and teacher_dim, so that it makes an adapter"
            )
        return fitnet(ours, teacher.embedding, valid)
