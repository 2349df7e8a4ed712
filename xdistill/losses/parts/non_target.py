"""A row of logits split into its target and the other classes, without masking values."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F


def without_target(
    logits: Float[Tensor, "b k"], target: Int64[Tensor, " b"]
) -> Float[Tensor, "b k-1"]:
    """The logits of the classes that are not the row's target, in their order.

    Their softmax is that of a target logit of −∞, without an infinity in the gradient. Finite
    substitutes fail: a logit of 0 stays in the softmax, and −1000 dominates where all others are
    below it. A row labelled -1 loses its first class: mask such rows in what follows.
    """
    column = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, column + (column >= target.clamp(min=0)[:, None]).long())


def log_odds(logits: Float[Tensor, "b k"], target: Int64[Tensor, " b"]) -> Float[Tensor, " b"]:
    """log p(y) − log(1 − p(y)) = z_y − log Σ_{i≠y} exp z_i, for p = softmax(z).

    p(y) is its sigmoid, and log p(y) and log(1 − p(y)) are the logsigmoids of it and of its
    negative: exact where p(y) itself rounds to 0 or 1.
    """
    own = logits.gather(1, target.clamp(min=0)[:, None])[:, 0]
    return own - without_target(logits, target).logsumexp(dim=1)


def odds_kl(odds_p: Float[Tensor, " b"], odds_q: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """KL((p, 1 − p) ‖ (q, 1 − q)) of two probabilities that are given by their `log_odds`."""
    hit = odds_p.sigmoid() * (F.logsigmoid(odds_p) - F.logsigmoid(odds_q))
    miss = (-odds_p).sigmoid() * (F.logsigmoid(-odds_p) - F.logsigmoid(-odds_q))
    return hit + miss
