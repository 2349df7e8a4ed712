"""The mined loss as loops over pairs in float64, from its definition; and batches for it."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def negatives_of(i, labels, index, bank_labels, bank_index, valid, bank_valid):
    """Positions among batch and bank of the keys that anchor i is pushed from."""
    b = len(labels)
    found = []
    for n in range(b + len(bank_labels)):
        of_batch = n < b
        label = labels[n] if of_batch else bank_labels[n - b]
        sample = index[n] if of_batch else bank_index[n - b]
        present = valid[n] if of_batch else bank_valid[n - b]
        if not present or n == i or (sample == index[i] and sample >= 0):
            continue
        if labels[i] < 0 or (label >= 0 and label != labels[i]):
            found.append(n)
    return found


def slow_khn(
    a, p, labels, bank=(), bank_labels=(), *, margin=0.5, num_negatives=5,
    mining="semihard", form="triplet",
    positives="class", temperature=0.1, valid=None, index=None, bank_index=None, bank_valid=None,
):  # fmt: skip
    b = len(a)
    labels = [-1] * b if labels is None else labels.tolist()
    index = [-1] * b if index is None else index.tolist()
    valid = [True] * b if valid is None else valid.tolist()
    q = len(bank)
    bank_labels = [-1] * q if bank_labels is None or q == 0 else bank_labels.tolist()
    bank_index = [-1] * q if bank_index is None else bank_index.tolist()
    bank_valid = [True] * q if bank_valid is None else bank_valid.tolist()
    keys = list(p) + list(bank)
    costs = []
    for i in range(b):
        if not valid[i]:
            continue
        negative = negatives_of(i, labels, index, bank_labels, bank_index, valid, bank_valid)
        positive = [
            j
            for j in range(b)
            if valid[j]
            and (j == i or (positives == "class" and labels[i] >= 0 and labels[j] == labels[i]))
        ]
        distance = {n: ((a[i] - keys[n]) ** 2).sum() for n in {*negative, *positive}}
        if form == "nce":
            pull = sum(math.e ** (a[i] @ keys[j] / temperature) for j in positive)
            nearest = sorted(negative, key=lambda n: -(a[i] @ keys[n]).item())[:num_negatives]
            push = sum((math.e ** (a[i] @ keys[n] / temperature) for n in nearest), torch.zeros(()))
            costs.append(-torch.log(pull / (pull + push)))
            continue
        for j in positive:
            legal = negative
            if mining == "semihard":
                legal = [n for n in legal if 0 < distance[j] - distance[n] + margin < margin]
            for n in sorted(legal, key=lambda n: distance[n].item())[:num_negatives]:
                costs.append(torch.relu(distance[j] - distance[n] + margin))
    return torch.stack(costs).mean() if costs else 0 * a.sum()


def keys_that_matter(bank, value):
    """The bank keys on which the value depends."""
    before = value(bank)
    found = []
    for n in range(len(bank)):
        changed = bank.clone()
        changed[n] = changed[n].flip(0)
        if not torch.equal(before, value(changed)):
            found.append(n)
    return found


def batch(seed, b=7, q=11, d=4, classes=3, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    a, p, bank = (
        F.normalize(torch.randn(n, d, generator=g, dtype=dtype), dim=1) for n in (b, b, q)
    )
    labels = torch.randint(-1, classes, (b,), generator=g)
    bank_labels = torch.randint(-1, classes, (q,), generator=g)
    return a, p, labels, bank, bank_labels, g


def with_gradients(function, a, p, *rest, **options):
    a, p = a.clone().requires_grad_(), p.clone().requires_grad_()
    value = function(a, p, *rest, **options)
    value.backward()
    return value.detach(), a.grad, p.grad
