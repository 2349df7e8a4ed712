"""Squared error of a regression on the rows with a target."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.regression import known_values
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def mse(values: Float[Tensor, "b k"], target: Float[Tensor, "b ..."]) -> Float[Tensor, ""]:
    """Mean of (value − target)² over the entries whose target is not NaN; 0 when there is none."""
    ours, wanted, known = known_values("mse", values, target)
    each = F.mse_loss(ours, wanted, reduction="none")
    return masked_mean(each.flatten(), known.flatten())


@register_loss("mse")
class MSE(Loss):
    """The student's task loss where the target holds values. It ignores the teacher.

    The student's logits are the predicted values: create it with `num_classes` of the number of
    values. Bring targets of unequal scales to one before, since all entries count equally.
    """

    name = "mse"
    formula = "(z_s − y)²"
    needs = ("logits", "labels")
    shared_space = False
    task = True
    per_position = True
    reads = ("values",)

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student)
        return mse(student.logits, require_target(self.name, target))
