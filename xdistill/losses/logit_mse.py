"""Regression on the teacher's logits."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def logit_mse(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over rows of ‖z_s − z_t‖² (Ba & Caruana, NeurIPS 2014, equation 1, there with a ½).

    The sum runs over the classes. A mean over rows and classes, `torch.nn.MSELoss`, is 1/K of it.
    Up to a factor of 2K it is the limit of `kd` at high temperature, save that a constant added to
    a row's logits counts here.
    """
    keep = row_mask(valid, student)
    gap = zero_rows(student, keep) - zero_rows(teacher, keep)
    return masked_mean(gap.square().sum(dim=1), keep)


@register_loss("logit_mse")
class LogitMSE(Loss):
    """The squared distance of the logits; all classes count equally.

    The paper trains on it alone, so it recommends no weight. Beside a cross-entropy the weight must
    be searched for, since the value grows with the square of the scale of the teacher's logits.
    Standardising each of the teacher's logits over the training set, as the paper does, helps.
    """

    name = "logit_mse"
    formula = "‖z_s − z_t‖²"
    paper = "Ba & Caruana, NeurIPS 2014"
    needs = ("logits",)
    shared_space = False
    per_position = True
    reads = ("class", "classes", "soft", "values")

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        return logit_mse(student.logits, teacher.logits, valid)
