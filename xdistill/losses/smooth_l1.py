"""Smooth absolute error of a regression on the rows with a target."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.options import require_positive
from xdistill.losses.parts.regression import known_values
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def smooth_l1(
    values: Float[Tensor, "b k"], target: Float[Tensor, "b ..."], beta: float = 1.0
) -> Float[Tensor, ""]:
    """Mean of d²/(2β) where d = |value − target| < β, else d − β/2 (Girshick, ICCV 2015, eq. 3).

    Entries whose target is NaN are left out; 0 when there is no other. Equation 3 has β = 1.
    """
    ours, wanted, known = known_values("smooth_l1", values, target)
    each = F.smooth_l1_loss(ours, wanted, reduction="none", beta=beta)
    return masked_mean(each.flatten(), known.flatten())


@register_loss("smooth_l1")
class SmoothL1(Loss):
    """A task loss for values that outliers pull less than `mse`. It ignores the teacher.

    The student's logits are the predicted values.

    Args:
        beta: the difference, in units of the target, at which the square turns into the absolute
            value.
    """

    name = "smooth_l1"
    formula = "d²/(2β) if d < β, else d − β/2; d = |z_s − y|"
    needs = ("logits", "labels")
    shared_space = False
    task = True
    per_position = True
    reads = ("values",)

    def __init__(self, beta: float = 1.0):
        super().__init__()
        require_positive(self.name, beta=beta)
        self.beta = beta

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student)
        return smooth_l1(student.logits, require_target(self.name, target), self.beta)
