"""Deep mutual learning: two networks teach each other."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.kd import kd
from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.options import require_positive
from xdistill.registry import register_loss


def dml(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean over rows of KL(p_t ‖ p_s) + KL(p_s ‖ p_t), each first argument detached.

    Zhang et al., CVPR 2018, eqs. 4 to 6 for two networks. The first term trains the student alone
    and the second the teacher alone: neither changes in order to be easier to imitate. The value is
    that of `jeffreys`, the gradient is not.
    """
    to_student = kd(student, teacher.detach(), valid, temperature)
    to_teacher = kd(teacher, student.detach(), valid, temperature)
    return to_student + to_teacher


@register_loss("dml")
class DML(Loss):
    """Each network imitates the other's class probabilities; both train.

    The paper's weight is 1 beside a cross-entropy of 1 for each network. The teacher must train
    too: `Distiller(train_teacher=True)`, which adds the teacher's cross-entropy. With a frozen
    teacher the gradient is that of `kd` at T = 1.

    Args:
        temperature: divides both logits; 1 in the paper. The terms are scaled by T² as in `kd`.
    """

    name = "dml"
    formula = "KL(p_t.detach ‖ p_s) + KL(p_s.detach ‖ p_t)"
    paper = "Zhang et al., CVPR 2018"
    needs = ("logits",)
    mutual = True
    shared_space = False
    per_position = True

    def __init__(self, temperature: float = 1.0):
        super().__init__()
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        return dml(student.logits, teacher.logits, valid, self.temperature)
