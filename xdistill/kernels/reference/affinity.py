"""The divergence between the softmaxes of two matrices of similarities, both of them built."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.kernels.keys import Keys, Rows
from xdistill.numerics import EXCLUDED, masked_mean


def affinity_kl(
    rows: Rows,
    keys: Keys,
    teacher_rows: Float[Tensor, "n e"],
    teacher_keys: Float[Tensor, "m e"],
    neighbours: int | None,
) -> Float[Tensor, ""]:
    """Mean over rows of KL(softmax of the teacher's scores ‖ softmax of the student's scores)."""
    scores = rows.x @ keys.k.T  # [N, M]
    targets = teacher_rows @ teacher_keys.T
    edge = candidates(rows, keys)
    if neighbours is not None:
        edge = edge & nearest(targets.masked_fill(~edge, EXCLUDED), neighbours)
    values = divergence(scores, targets, edge)
    keep = torch.ones_like(values, dtype=torch.bool) if rows.keep is None else rows.keep
    return masked_mean(values, keep)


def candidates(rows: Rows, keys: Keys) -> Bool[Tensor, "n m"]:
    """The valid keys of each row except its own."""
    n, m = len(rows.x), len(keys.k)
    found = torch.ones(n, m, dtype=torch.bool, device=rows.x.device)
    if keys.own is not None and -n < keys.own < m:
        found.diagonal(keys.own).fill_(False)
    return found if keys.valid is None else found & keys.valid[None, :]


def nearest(scores: Float[Tensor, "n m"], count: int) -> Bool[Tensor, "n m"]:
    """Which scores are the `count` highest of their row."""
    place = scores.topk(min(count, scores.shape[1]), dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, place, True)


def divergence(
    scores: Float[Tensor, "n m"], targets: Float[Tensor, "n m"], edge: Bool[Tensor, "n m"]
) -> Float[Tensor, " n"]:
    """The divergence of each row over its edges; 0 for a row without edges."""
    log_s = scores.masked_fill(~edge, EXCLUDED).log_softmax(dim=1)
    log_t = targets.masked_fill(~edge, EXCLUDED).log_softmax(dim=1)
    return torch.where(edge, log_t.exp() * (log_t - log_s), 0.0).sum(dim=1)
