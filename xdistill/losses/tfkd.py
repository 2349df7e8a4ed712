"""Teacher-free distillation: KD from an artificial teacher made from the label."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.kl import kl, log_probabilities
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.options import require_positive
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def artificial_teacher(
    like: Float[Tensor, "b k"], target: Int64[Tensor, " b"], correct: float = 0.99
) -> Float[Tensor, "b k"]:
    """log p_d: the label has probability `correct`, the others share the rest evenly.

    Yuan et al., CVPR 2020, equation 8. These are logits too: p_d is their softmax.
    """
    other = (1 - correct) / max(like.shape[1] - 1, 1)
    hot = torch.arange(like.shape[1], device=like.device) == target[:, None]
    return torch.where(
        hot, like.new_full((), math.log(correct)), like.new_full((), math.log(other))
    )


def tfkd(
    student: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    correct: float = 0.99,
    temperature: float = 20.0,
    official: bool = False,
) -> Float[Tensor, ""]:
    """Mean over labelled rows of T²·KL(p_d at T ‖ p_s at T) (Yuan et al., CVPR 2020, equation 9).

    p_d at T is softmax(log(p_d)/T). The equation has no T², and neither has the paper's own
    equation for KD; it is included as in `kd`, since T = 20 would otherwise shrink the gradient 400
    times.

    `official` is what the public code computes and the published numbers rest on: KL(softmax(p_d/T)
    ‖ softmax(z_s))/K. It softens the probabilities as if they were logits, which leaves a ratio of
    e^(a/T) ≈ 1.05 between the label and another class, and it does not soften the student.
    """
    keep = target >= 0
    artificial = artificial_teacher(student, target, correct)
    scale = temperature**2
    student_temperature = temperature
    if official:
        artificial, student_temperature, scale = artificial.exp(), 1.0, 1 / student.shape[1]
    log_s = log_probabilities(student, keep, student_temperature)
    log_d = (artificial / temperature).log_softmax(dim=1)
    divergence = kl(log_d, log_s)  # [B]
    return scale * masked_mean(divergence, keep)


@register_loss("tfkd")
class TfKD(Loss):
    """Tf-KD_reg: a regulariser that uses the label only and ignores the teacher and `valid`.

    At T = 1 its gradient is that of label smoothing whose label keeps `correct`. At T = 20 it asks
    for one gap, log(a(K − 1)/(1 − a)), between the label's logit and each other one, with a roughly
    linear pull from either side; label smoothing pulls by the difference of probabilities. The
    paper combines 0.9 of the cross-entropy with 0.1 of this.

    Args:
        correct: probability a of the label before softening; the paper takes 0.9 or more.
        temperature: softens the artificial teacher and, unless `official`, the student.
        official: the public code's formula (see `tfkd`), where the student stays at temperature 1.
            Its weights are 0.1 times 100 for ResNet-18 on CIFAR-100: the 100 undoes 1/K.
    """

    name = "tfkd"
    formula = "T²·KL(softmax(log(p_d)/T) ‖ softmax(z_s/T)), p_d(y) = a, else (1 − a)/(K − 1)"
    paper = "Yuan et al., CVPR 2020"
    needs = ("logits", "labels")
    shared_space = False
    reads_teacher = False
    recommended_weight = 0.1

    def __init__(self, correct: float = 0.99, temperature: float = 20.0, official: bool = False):
        super().__init__()
        require_positive(self.name, temperature=temperature)
        if not 0.5 < correct < 1:
            raise ValueError(
                f"tfkd: correct must lie between 0.5 and 1, got {correct}; the artificial teacher "
                "must be right but not certain, the paper takes 0.99"
            )
        self.correct = correct
        self.temperature = temperature
        self.official = official

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student)
        target = require_target(self.name, target)
        return tfkd(student.logits, target, self.correct, self.temperature, self.official)
