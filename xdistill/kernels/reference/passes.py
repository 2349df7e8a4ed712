"""The losses as their papers write them, with the whole matrix of scores.

The other implementations must equal these. They are plain PyTorch, so autograd gives derivatives of
any order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.kernels.keys import Keys, Rows
from xdistill.numerics import EXCLUDED, masked_mean


class Pairs(NamedTuple):
    """[N, M] masks over (row, key), all sets of keys concatenated.

    Attributes:
        own: the key is the row's pair.
        candidate: it takes part in the row's softmax.
        positive: it is the row's pair or has the row's label.
        negative: it is known to have another label.
    """

    own: Bool[Tensor, "n m"]
    candidate: Bool[Tensor, "n m"]
    positive: Bool[Tensor, "n m"]
    negative: Bool[Tensor, "n m"]


def pairs_of(rows: Rows, sets: list[Keys]) -> Pairs:
    """The candidates, positives and negatives of every row.

    Without labels a row's own key is its positive, and all others are negatives. With labels, keys
    of its class are positives too. A key labelled -1 could be of any class: for a labelled row it
    is neither positive nor negative nor a candidate. A row labelled -1 has its own key as its only
    positive, no known negative, and every key as a candidate.
    """
    found = [_pairs_of_set(rows, keys) for keys in sets]
    return Pairs(*(torch.cat(masks, dim=1) for masks in zip(*found, strict=True)))


def _pairs_of_set(rows: Rows, keys: Keys) -> Pairs:
    n, m, device = len(rows.x), len(keys.k), rows.x.device
    there = torch.ones(m, dtype=torch.bool, device=device) if keys.valid is None else keys.valid
    there = there[None, :].expand(n, m)
    own = torch.zeros(n, m, dtype=torch.bool, device=device)
    if keys.own is not None and -n < keys.own < m:
        own.diagonal(keys.own).fill_(True)
    own = own & there
    if rows.label is None or keys.label is None:
        return Pairs(own, there, own, there & ~own)
    of_row, of_key = rows.label[:, None], keys.label[None, :]
    known = there & (of_row >= 0) & (of_key >= 0)
    return Pairs(
        own,
        own | (there & ((of_key >= 0) | (of_row < 0))),
        own | (known & (of_row == of_key)),
        known & (of_row != of_key) & ~own,
    )


def scores_of(rows: Rows, sets: list[Keys]) -> Float[Tensor, "n m"]:
    """x_i · k_j for all sets of keys, concatenated."""
    return rows.x @ torch.cat([keys.k for keys in sets]).T


def infonce(rows: Rows, keys: Keys, extra: Keys | None) -> Float[Tensor, ""]:
    """½(CE of each row's own key among the keys + CE of each key's own row among the rows)."""
    n, m = len(rows.x), len(keys.k)
    both = torch.ones(n, m, dtype=torch.bool, device=rows.x.device)
    if rows.keep is not None:
        both = both & rows.keep[:, None]
    if keys.valid is not None:
        both = both & keys.valid[None, :]
    scores = scores_of(rows, [keys]).masked_fill(~both, EXCLUDED)
    own, counted = scores.diagonal(), both.diagonal()
    back = scores.logsumexp(dim=0)[: len(own)] - own
    if extra is not None:
        more = scores_of(rows, [extra])
        if extra.valid is not None:
            more = more.masked_fill(~extra.valid[None, :], EXCLUDED)
        scores = torch.cat([scores, more], dim=1)
    forth = scores.logsumexp(dim=1)[: len(own)] - own
    return 0.5 * masked_mean(forth + back, counted)


def supcon(rows: Rows, sets: list[Keys]) -> Float[Tensor, ""]:
    """Mean over rows of the mean over their positives of −log softmax(scores)."""
    pairs = pairs_of(rows, sets)
    scores = scores_of(rows, sets).masked_fill(~pairs.candidate, EXCLUDED)
    values = _mean_where(-scores.log_softmax(dim=1), pairs.positive)
    return masked_mean(values, _counted(rows, pairs))


def multiclass_nce(rows: Rows, sets: list[Keys]) -> Float[Tensor, ""]:
    """Mean over rows of: mean over positives of −log p + mean over negatives of −log(1 − p)."""
    pairs = pairs_of(rows, sets)
    scores = scores_of(rows, sets).masked_fill(~pairs.candidate, EXCLUDED)
    attract = _mean_where(-scores.log_softmax(dim=1), pairs.positive)
    repel = _mean_where(-log_complement(scores), pairs.negative)
    return masked_mean(attract + repel, _counted(rows, pairs))


def log_complement(scores: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """log(1 − softmax(scores)) along rows, exact where a probability rounds to 1.

    Only the largest probability of a row can exceed ½. Its complement is the sum of the others;
    for all others log1p is exact.
    """
    if not scores.shape[1]:
        return scores
    total = scores.logsumexp(dim=1, keepdim=True)
    largest = scores.argmax(dim=1, keepdim=True)
    is_largest = torch.arange(scores.shape[1], device=scores.device) == largest  # [N, M]
    others = scores.masked_fill(is_largest, EXCLUDED).logsumexp(dim=1, keepdim=True)
    # log1p would have an infinite derivative at the largest, which is therefore replaced. The clamp
    # does the same for a row without candidates and changes nothing else: the others are <= 1/2.
    small = torch.where(is_largest, torch.full_like(scores, -1.0), scores - total).clamp(max=-0.5)
    return torch.where(is_largest, others - total, torch.log1p(-small.exp()))


def siglip(rows: Rows, sets: list[Keys], bias: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """−Σ_ij log σ(±(s_ij + bias)) over the number of pairs; the sign is + for a row's own key."""
    pairs = pairs_of(Rows(rows.x), [keys._replace(label=None) for keys in sets])
    scores = scores_of(rows, sets) + bias
    values = -F.logsigmoid(torch.where(pairs.own, scores, -scores))
    keep = pairs.candidate if rows.keep is None else pairs.candidate & rows.keep[:, None]
    total = torch.where(keep, values, torch.zeros_like(values)).sum()
    count = (pairs.own & keep).sum()
    return torch.where(count > 0, total / count.clamp(min=1), torch.zeros_like(total))


def _counted(rows: Rows, pairs: Pairs) -> Bool[Tensor, " n"]:
    has_positive = pairs.positive.any(dim=1)
    return has_positive if rows.keep is None else has_positive & rows.keep


def _mean_where(values: Float[Tensor, "n m"], mask: Bool[Tensor, "n m"]) -> Float[Tensor, " n"]:
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
