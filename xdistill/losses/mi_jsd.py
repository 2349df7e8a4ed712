"""Mutual information of the two embeddings, by the Jensen-Shannon bound."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.critic import CriticLoss
from xdistill.losses.parts.masking import row_mask
from xdistill.losses.parts.pairs import distinct_pairs
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def mi_jsd(
    scores: Float[Tensor, "b b"], valid: Bool[Tensor, " b"] | None = None
) -> Float[Tensor, ""]:
    """E_pairs softplus(−T) + E_others softplus(T) (Hjelm et al., ICLR 2019, eq. 4, negated).

    It is 2 log 2 for a critic that distinguishes nothing, and 2 log 2 minus twice the
    Jensen-Shannon divergence of pairs from other combinations for a perfect critic. With only one
    row that counts it is 0.

    Args:
        scores: T(s_i, t_j); the pairs are on the diagonal.
    """
    keep = row_mask(valid, scores)
    paired = masked_mean(-F.logsigmoid(scores.diagonal()), keep)
    others = masked_mean(-F.logsigmoid(-scores), distinct_pairs(keep))
    return torch.where(keep.sum() > 1, paired + others, 0.0)


@register_loss("mi_jsd")
class MIJSD(CriticLoss):
    """Raise the mutual information of the embeddings, as a learned critic estimates it.

    The critic's parameters are the loss's own and train with the student. It bounds a divergence
    that grows with mutual information; its value is not in nats. It trains more stably than `mine`.
    The recommended weight of 1 is a starting point; the paper, not about distillation, has none.

    Args:
        hidden_dim: width between the two maps of each MLP of the critic.
        critic_dim: width of the MLPs' outputs.
        student_dim: width of the student's embedding; with `teacher_dim` it replaces `bind`.
        teacher_dim: width of the teacher's embedding.
    """

    name = "mi_jsd"
    formula = "E_pairs softplus(−T(f_s, f_t)) + E_others softplus(T(f_s, f_t))"
    paper = "Hjelm et al., ICLR 2019"

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return mi_jsd(self.scores(student, teacher, valid), valid)
