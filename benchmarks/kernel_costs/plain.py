"""Each loss as a training script writes it: plain PyTorch on whole matrices, and autograd.

docs/kernels.md compares with these. The library's own `reference` also supports masks, missing
labels and banks, and would be too easy to beat.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kernel_costs.problem import MARGIN, NEGATIVES, SCALE, Problem


def infonce(p: Problem) -> Tensor:
    """Cross-entropy of each row's own key, in both directions."""
    scores = p.scale * p.rows @ p.keys.T
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def supcon(p: Problem) -> Tensor:
    """−log p, averaged over the keys of the row's class."""
    positive = p.row_labels[:, None] == p.key_labels[None, :]
    log_p = (SCALE * p.rows @ p.keys.T).log_softmax(dim=1)
    return -((log_p * positive).sum(dim=1) / positive.sum(dim=1)).mean()


def siglip(p: Problem) -> Tensor:
    """A sigmoid for each pair."""
    scores = p.scale * p.rows @ p.keys.T + p.bias
    sign = 2 * torch.eye(len(scores), dtype=scores.dtype, device=scores.device) - 1
    return -F.logsigmoid(sign * scores).sum() / len(scores)


def multiclass_nce(p: Problem) -> Tensor:
    """−log p of the keys of the row's class, −log(1 − p) of the others."""
    positive = p.row_labels[:, None] == p.key_labels[None, :]
    log_p = (SCALE * p.rows @ p.keys.T).log_softmax(dim=1)
    attract = (log_p * positive).sum(dim=1) / positive.sum(dim=1)
    log_rest = torch.log1p(-log_p.exp())
    repel = (log_rest * ~positive).sum(dim=1) / (~positive).sum(dim=1)
    return -(attract + repel).mean()


def affinity_kl(p: Problem) -> Tensor:
    """Divergence of the row-softmaxed affinities, the diagonal left out."""
    diagonal = torch.eye(len(p.rows), dtype=torch.bool, device=p.rows.device)
    student = (SCALE * p.rows @ p.rows.T).masked_fill(diagonal, -1e4).log_softmax(dim=1)
    teacher = (SCALE * p.keys @ p.keys.T).masked_fill(diagonal, -1e4).log_softmax(dim=1)
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean")


def khn(p: Problem) -> Tensor:
    """Semi-hard triplets from the matrix of distances, sorted once per anchor."""
    keys, labels = torch.cat([p.keys, p.bank]), torch.cat([p.key_labels, p.bank_labels])
    squares = p.rows.square().sum(dim=1)[:, None] + keys.square().sum(dim=1)[None, :]
    distance = (squares - 2 * p.rows @ keys.T).clamp(min=0)  # [B, B + M]
    near = distance[:, : len(p.rows)]  # [B, B]
    with torch.no_grad():
        same = p.row_labels[:, None] == labels[None, :]
        far, order = distance.masked_fill(same, torch.inf).sort(dim=1)
        far = F.pad(far, (0, NEGATIVES), value=torch.inf)
        order = F.pad(order, (0, NEGATIVES))
        start = torch.searchsorted(far, near.contiguous(), right=True)
        rank = start[:, :, None] + torch.arange(NEGATIVES, device=far.device)  # [B, B, K]
        inside = far.gather(1, rank.flatten(1)).view(rank.shape) < near[:, :, None] + MARGIN
        chosen = inside & same[:, : len(p.rows), None]
        place = order.gather(1, rank.flatten(1))
    cost = near[:, :, None] - distance.gather(1, place).view(rank.shape) + MARGIN
    return torch.where(chosen, cost, 0.0).sum() / chosen.sum()
