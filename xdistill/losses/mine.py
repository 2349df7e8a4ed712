"""Mutual information of the two embeddings, by the Donsker-Varadhan bound."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.parts.critic import CriticLoss
from xdistill.losses.parts.log_mean_exp import log_mean_exp
from xdistill.losses.parts.masking import row_mask
from xdistill.losses.parts.pairs import distinct_pairs
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def mine(
    scores: Float[Tensor, "b b"],
    valid: Bool[Tensor, " b"] | None = None,
    log_average: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """−(E_pairs T − log E_others e^T) (Belghazi et al., ICML 2018, eq. 10). No lower bound.

    With only one row that counts it is 0.

    Args:
        scores: T(s_i, t_j); the pairs are on the diagonal.
        log_average: log of a moving average of E_others e^T, which replaces the batch's own average
            in the gradient of the logarithm (eq. 12), because the mean of a ratio over small
            batches is biased. The value remains that of the batch.
    """
    keep = row_mask(valid, scores)
    paired = masked_mean(scores.diagonal(), keep)
    log_mean = log_mean_exp(scores, distinct_pairs(keep))
    bound = paired - log_mean
    if log_average is not None:
        corrected = paired - (log_mean - log_average).exp()
        bound = bound.detach() + (corrected - corrected.detach())
    return torch.where(keep.sum() > 1, -bound, 0.0)


@register_loss("mine")
class MINE(CriticLoss):
    """Raise the mutual information of the embeddings, in nats, as a learned critic estimates it.

    The critic's parameters are the loss's own and train with the student. A critic that has
    memorised the training rows lowers the value without bound: monitor it, or use `mi_jsd`. The
    recommended weight of 1 is a starting point; the paper, not about distillation, has none. On
    several processes each has a moving average of its own.

    Args:
        rate: the batch's share in the moving average of e^T. The batch enters the average before
            the division, so that no weight in the gradient exceeds 1/rate; 1 gives the plain,
            biased gradient.
        hidden_dim: width between the two maps of each MLP of the critic.
        critic_dim: width of the MLPs' outputs.
        student_dim: width of the student's embedding; with `teacher_dim` it replaces `bind`.
        teacher_dim: width of the teacher's embedding.
    """

    name = "mine"
    formula = "−(E_pairs T(f_s, f_t) − log E_others exp T(f_s, f_t))"
    paper = "Belghazi et al., ICML 2018"
    log_average: Tensor
    has_average: Tensor

    def __init__(
        self,
        rate: float = 0.01,
        hidden_dim: int = 256,
        critic_dim: int = 128,
        student_dim: int | None = None,
        teacher_dim: int | None = None,
    ):
        if not 0 < rate <= 1:
            raise ValueError(f"mine needs a rate above 0 and at most 1, got {rate}")
        super().__init__(hidden_dim, critic_dim, student_dim, teacher_dim)
        self.rate = rate
        self.register_buffer("log_average", torch.zeros(()))
        self.register_buffer("has_average", torch.zeros((), dtype=torch.bool))

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        scores = self.scores(student, teacher, valid)
        average = self.average(scores, distinct_pairs(row_mask(valid, scores)))
        return mine(scores, valid, average)

    @torch.no_grad()
    def average(
        self, scores: Float[Tensor, "b b"], others: Bool[Tensor, "b b"]
    ) -> Float[Tensor, ""]:
        """log of the moving average with this batch in it; stored in training mode only."""
        batch = log_mean_exp(scores, others)
        old = self.log_average.to(batch.dtype)
        rest = math.log(1 - self.rate) if self.rate < 1 else -math.inf
        moved = torch.logaddexp(rest + old, math.log(self.rate) + batch)
        moved = torch.where(self.has_average, moved, batch)
        if self.training:
            seen = others.any() & ~batch.isnan()  # an average never recovers from NaN
            self.log_average.copy_(torch.where(seen, moved, old))
            self.has_average.logical_or_(seen)
        return moved
