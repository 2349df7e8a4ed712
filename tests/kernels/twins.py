"""The contrastive kernels from their definitions: a loop over pairs selects each row's keys.

In the type of the tensors that come: in float64 they say what is right, and in float32 or half
precision how far plain PyTorch is from it in that type.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Row(NamedTuple):
    """A row's scores, and which of them belong to its candidates, positives and negatives."""

    scores: Tensor
    candidate: list[int]
    positive: list[int]
    negative: list[int]


def supcon(a, k, scale, row_labels=None, key_labels=None, **rest) -> Tensor:
    costs = [_attraction(row) for row in _rows(a, k, scale, row_labels, key_labels, **rest)]
    return _mean(costs, a, k, scale)


def multiclass_nce(a, k, scale, row_labels=None, key_labels=None, **rest) -> Tensor:
    rows = _rows(a, k, scale, row_labels, key_labels, **rest)
    return _mean([_attraction(row) + _repulsion(row) for row in rows], a, k, scale)


def infonce(a, b, scale, *, valid=None, extra=None, extra_valid=None) -> Tensor:
    rows, keys = _there(len(a), valid), _there(len(b), valid)
    scores = a[rows] @ b[keys].T * scale
    more = scores[:, :0]
    if extra is not None:
        more = a[rows] @ extra.detach()[_there(len(extra), extra_valid)].T * scale
    costs = []
    for at, i in enumerate(rows):
        if i in keys:
            own = scores[at, keys.index(i)]
            forth = torch.cat([scores[at], more[at]]).logsumexp(0)
            back = scores[:, keys.index(i)].logsumexp(0)
            costs.append(0.5 * (forth + back) - own)
    return _mean(costs, a, b, scale)


def siglip(a, b, scale, bias, *, valid=None, extra=None, extra_valid=None) -> Tensor:
    rows, keys = _there(len(a), valid), _there(len(b), valid)
    table, owners = b[keys], list(keys)
    if extra is not None:
        found = _there(len(extra), extra_valid)
        table, owners = torch.cat([table, extra.detach()[found]]), owners + [-1] * len(found)
    sign = [[1.0 if j == i else -1.0 for j in owners] for i in rows]
    pairs = sum(line.count(1.0) for line in sign)
    if not pairs:
        return _mean([], a, b, scale)
    scores = a[rows] @ table.T * scale + bias
    return -F.logsigmoid(scores * torch.tensor(sign).to(scores)).sum() / pairs


def _rows(
    a, k, scale, row_labels, key_labels, *, paired=False, valid=None, key_valid=None,
    extra=None, extra_labels=None, extra_valid=None,
) -> Iterator[Row]:  # fmt: skip
    """The rows with a positive."""
    if paired and key_valid is None and len(a) == len(k):
        key_valid = valid
    rows, owners = _there(len(a), valid), _there(len(k), key_valid)
    table, labels = k[owners], _labels(key_labels, owners)
    if extra is not None:
        found = _there(len(extra), extra_valid)
        table = torch.cat([table, extra.detach()[found]])
        owners, labels = owners + [-1] * len(found), labels + _labels(extra_labels, found)
    scores = (a[rows] @ table.T * scale).unbind()
    for i, label, s in zip(rows, _labels(row_labels, rows), scores, strict=True):
        row = Row(s, [], [], [])
        for column, (owner, other) in enumerate(zip(owners, labels, strict=True)):
            own = paired and owner == i
            known = label is not None and label >= 0 and other >= 0
            if own or label is None or label < 0 or known:
                row.candidate.append(column)
            if own or (known and label == other):
                row.positive.append(column)
            elif label is None or known:
                row.negative.append(column)
        if row.positive:
            yield row


def _attraction(row: Row) -> Tensor:
    return row.scores[row.candidate].logsumexp(0) - row.scores[row.positive].mean()


def _repulsion(row: Row) -> Tensor:
    """Mean over negatives j of log Σ_n e^s_n − log Σ_(n≠j) e^s_n, which is −log(1 − p_j)."""
    if not row.negative:
        return row.scores.new_zeros(())
    s = row.scores[row.candidate]
    without_one = s.expand(len(s), -1).masked_fill(torch.eye(len(s), dtype=torch.bool), -torch.inf)
    place = [row.candidate.index(j) for j in row.negative]
    return (s.logsumexp(0) - without_one[place].logsumexp(1)).mean()


def _there(count: int, valid: Tensor | None) -> list[int]:
    return [i for i in range(count) if valid is None or valid[i]]


def _labels(labels: Tensor | None, places: list[int]) -> list[int | None]:
    return [None if labels is None else int(labels[i]) for i in places]


def _mean(costs: list[Tensor], *inputs) -> Tensor:
    """The mean; 0, with a gradient of 0, if there are no costs."""
    if costs:
        return torch.stack(costs).mean()
    return sum((torch.as_tensor(x).flatten()[:0].sum() for x in inputs), torch.zeros(()))
