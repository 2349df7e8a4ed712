"""Each loss as one writes it in a training script: dense matrices, gradients from autograd.

These are the yardstick of docs/kernels.md. The library's own `reference` also knows masks, missing
labels and banks, and would be too easy to beat.
"""

from __future__ import annotations

import torch
from kernel_problem import MARGIN, NEGATIVES, SCALE, Problem
from torch import Tensor
from torch.nn import functional as F


def infonce(p: Problem) -> Tensor:
    """Cross-entropy of each row's own key, both ways."""
    scores = p.scale * p.a @ p.b.T
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def supcon(p: Problem) -> Tensor:
    """−log p, averaged over the keys of the row's class."""
    positive = p.la[:, None] == p.lb[None, :]
    log_p = (SCALE * p.a @ p.b.T).log_softmax(dim=1)
    return -((log_p * positive).sum(dim=1) / positive.sum(dim=1)).mean()


def siglip(p: Problem) -> Tensor:
    """A sigmoid for each pair."""
    scores = p.scale * p.a @ p.b.T + p.bias
    sign = 2 * torch.eye(len(scores), dtype=scores.dtype, device=scores.device) - 1
    return -F.logsigmoid(sign * scores).sum() / len(scores)


def multiclass_nce(p: Problem) -> Tensor:
    """−log p of the keys of the row's class, −log(1 − p) of the others."""
    positive = p.la[:, None] == p.lb[None, :]
    log_p = (SCALE * p.a @ p.b.T).log_softmax(dim=1)
    attract = (log_p * positive).sum(dim=1) / positive.sum(dim=1)
    log_rest = torch.log1p(-log_p.exp())
    repel = (log_rest * ~positive).sum(dim=1) / (~positive).sum(dim=1)
    return -(attract + repel).mean()


def affinity_kl(p: Problem) -> Tensor:
    """Divergence of the row-softmaxed affinities, the diagonal left out."""
    diagonal = torch.eye(len(p.a), dtype=torch.bool, device=p.a.device)
    student = (SCALE * p.a @ p.a.T).masked_fill(diagonal, -1e4).log_softmax(dim=1)
    teacher = (SCALE * p.b @ p.b.T).masked_fill(diagonal, -1e4).log_softmax(dim=1)
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean")


def khn(p: Problem) -> Tensor:
    """Semi-hard triplets from the matrix of distances, sorted once per anchor."""
    keys, labels = torch.cat([p.b, p.bank]), torch.cat([p.lb, p.bank_labels])
    squares = p.a.square().sum(dim=1)[:, None] + keys.square().sum(dim=1)[None, :]
    distance = (squares - 2 * p.a @ keys.T).clamp(min=0)  # [B, B + M]
    near = distance[:, : len(p.a)]  # [B, B]
    with torch.no_grad():
        same = p.la[:, None] == labels[None, :]
        far, order = distance.masked_fill(same, torch.inf).sort(dim=1)
        far = F.pad(far, (0, NEGATIVES), value=torch.inf)
        order = F.pad(order, (0, NEGATIVES))
        start = torch.searchsorted(far, near.contiguous(), right=True)
        rank = start[:, :, None] + torch.arange(NEGATIVES, device=far.device)  # [B, B, K]
        inside = far.gather(1, rank.flatten(1)).view(rank.shape) < near[:, :, None] + MARGIN
        chosen = inside & same[:, : len(p.a), None]
        place = order.gather(1, rank.flatten(1))
    cost = near[:, :, None] - distance.gather(1, place).view(rank.shape) + MARGIN
    return torch.where(chosen, cost, 0.0).sum() / chosen.sum()
