"""The passes over the tiles: arguments of every kind, and their statistics from the definition."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from tests.kernels.problems import unit
from xdistill.kernels.passes import repel, row_column_lse, row_lse, softplus_sum, top_lse
from xdistill.kernels.tiled import passes as tiled
from xdistill.numerics import EXCLUDED

MODULES = {
    "row_column_lse": row_column_lse,
    "row_lse": row_lse,
    "top_lse": top_lse,
    "repel": repel,
    "softplus_sum": softplus_sum,
}
PASSES = tuple(MODULES)


def operator(name: str) -> Callable:
    """The operator of a pass."""
    return MODULES[name].operator


def operator_backward(name: str) -> Callable:
    """The operator of its gradients."""
    return MODULES[name].operator_backward


def arguments(
    name: str, n: int, m: int, d: int, *,
    scale: float = 10.0, need=(True, True), owns: tuple[int | None, ...] = (None, 0),
):  # fmt: skip
    """Arguments of a pass and of its backward pass, with and without each optional one."""
    g = torch.Generator().manual_seed(0)
    x, k = (unit(g, n, d) * scale).float(), unit(g, m, d).float()
    label_x, label_k = (torch.randint(-1, 3, (count,), generator=g) for count in (n, m))
    valid_x, valid_k = (torch.rand(count, generator=g) < 0.7 for count in (n, m))
    x_valid, k_valid = x * valid_x[:, None], k * valid_k[:, None]
    up = [torch.randn(n, generator=g) for _ in range(3)]
    if name == "row_column_lse":
        for masks in [(None, None), (valid_x, valid_k)]:
            inputs = (x, k, *masks) if masks[0] is None else (x_valid, k_valid, *masks)
            upstream = up[0], torch.randn(m, generator=g)
            if masks[0] is not None:
                upstream = upstream[0] * valid_x, upstream[1] * valid_k
            yield inputs, (*inputs, *tiled.row_column_lse(*inputs), *upstream, *need)
        return
    for valid, own in itertools.product([None, valid_k], owns):
        keys = k if valid is None else k_valid
        if name == "softplus_sum":
            inputs = (x, keys, torch.tensor(-2.0), valid, own)
            yield inputs, (*inputs, up[0], *need)
            continue
        for labels in [(None, None), (label_x, label_k)]:
            inputs = (x, keys, *labels, valid, own)
            lse, others, _, _, top = tiled.top_lse(*inputs)
            if name == "row_lse":
                yield inputs, (*inputs, lse, *up[:2], *need)
            elif name == "top_lse":
                yield inputs, (*inputs, lse, others, top, *up, *need)
            else:
                inputs = (*inputs, lse, top)
                yield inputs, (*inputs, up[0], *need)


def kinds(label_x, label_k, valid_k, own, i, j) -> tuple[bool, bool, bool]:
    """Whether key j is a candidate, a positive and a negative of row i."""
    there = valid_k is None or bool(valid_k[j])
    is_own = own is not None and j == i + own
    if label_x is None:
        return there, there and is_own, there and not is_own
    row, key = int(label_x[i]), int(label_k[j])
    known = row >= 0 and key >= 0
    return (
        there and (is_own or row < 0 or key >= 0),
        there and (is_own or (known and row == key)),
        there and not is_own and known and row != key,
    )


def log_sum(scores: list[float]) -> float:
    return torch.tensor(scores).double().logsumexp(0).item() if scores else EXCLUDED


def columns(rows: list[tuple[float, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(column) for column in zip(*rows, strict=True))


def slow_row_column_lse(x, k, valid_x, valid_k):
    s, rows, keys = (x @ k.T).tolist(), range(len(x)), range(len(k))
    row = [log_sum([s[i][j] for j in keys if valid_k is None or valid_k[j]]) for i in rows]
    column = [log_sum([s[i][j] for i in rows if valid_x is None or valid_x[i]]) for j in keys]
    return torch.tensor(row), torch.tensor(column)


def slow_row_lse(x, k, label_x, label_k, valid_k, own):
    lse, _, positive, _, _ = slow_top_lse(x, k, label_x, label_k, valid_k, own)
    return lse, positive


def slow_top_lse(x, k, label_x, label_k, valid_k, own):
    found = []
    for i, s in enumerate((x @ k.T).tolist()):
        kind = [kinds(label_x, label_k, valid_k, own, i, j) for j in range(len(k))]
        candidate = [j for j in range(len(k)) if kind[j][0]]
        top = max(candidate, key=lambda j: s[j], default=0)
        found.append((
            log_sum([s[j] for j in candidate]),
            log_sum([s[j] for j in candidate if j != top]),
            sum(s[j] for j in range(len(k)) if kind[j][1]) + 0.0,
            s[top] if candidate else EXCLUDED,
            top,
        ))  # fmt: skip
    return columns(found)


def slow_repel(x, k, label_x, label_k, valid_k, own, lse, top):
    found = []
    for i, s in enumerate((x @ k.T).tolist()):
        p = [
            math.exp(s[j] - lse[i].item())
            for j in range(len(k))
            if j != top[i] and kinds(label_x, label_k, valid_k, own, i, j)[2]
        ]
        found.append((sum(-math.log1p(-q) for q in p) + 0.0, sum(q / (1 - q) for q in p) + 0.0))
    return columns(found)


def slow_softplus_sum(x, k, bias, valid_k, own):
    found = []
    for i, s in enumerate((x @ k.T + bias).tolist()):
        there = [j for j in range(len(k)) if kinds(None, None, valid_k, own, i, j)[2]]
        found.append(sum(math.log1p(math.exp(s[j])) for j in there) + 0.0)
    return torch.tensor(found)
