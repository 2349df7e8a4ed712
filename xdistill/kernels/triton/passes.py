"""The functions of `tiled.passes` in Triton, for CUDA.

Rows and keys may be float32, float16 or bfloat16; scores, statistics and gradients are float32. In
half precision slopes are rounded before they are multiplied with rows and keys. With
TRITON_INTERPRET=1 everything runs on a CPU, slowly. Nothing has been timed on a GPU.
"""

# Kernels are called with unpacked lists, whose lengths a type checker does not know.
# pyright: reportCallIssue=false

from __future__ import annotations

import os

import torch
import triton
from torch import Tensor

from xdistill.kernels.triton import backward, forward
from xdistill.kernels.triton.frame import WIDEST, pointers, precision, tile_sizes
from xdistill.numerics import EXCLUDED

PARTIAL_NUMBERS = 2**24
"""The most column sums of blocks of rows in memory at a time: 64 MB."""

SPLITS = 8
"""Programs among which the keys of a block of rows are divided, to occupy a GPU with few rows."""


def readable(*matrices: Tensor) -> list[Tensor]:
    """Contiguous matrices, bfloat16 as float32 for the interpreter, which cannot multiply it."""
    widen = os.environ.get("TRITON_INTERPRET") == "1"
    found = []
    for x in matrices:
        x = x.float() if widen and x.dtype == torch.bfloat16 else x
        found.append(x.contiguous())
    return found


def _new(x: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=x.device)


def _excluded(x: Tensor) -> Tensor:
    return torch.full((len(x),), EXCLUDED, dtype=torch.float32, device=x.device)


def _zeros(x: Tensor) -> Tensor:
    return torch.zeros(len(x), dtype=torch.float32, device=x.device)


def _switches(label_k, valid_k, own) -> dict[str, bool]:
    return {
        "HAS_LABELS": label_k is not None,
        "HAS_VALID": valid_k is not None,
        "HAS_OWN": own is not None,
    }


def _over_rows(n: int, sizes: dict[str, int]) -> tuple[int]:
    return (triton.cdiv(n, sizes["BLOCK_N"]),)


def row_column_lse(x, k, valid_x, valid_k):
    """Log-sum-exp of each row and of each column."""
    n, m = len(x), len(k)
    if not n or not m:
        return _excluded(x), _excluded(k)
    x, k = readable(x, k)
    sizes = tile_sizes(x.shape[1])
    row, column = [], _excluded(k)
    has_valid = valid_x is not None or valid_k is not None
    if has_valid:
        valid_x = torch.ones(n, dtype=torch.bool, device=x.device) if valid_x is None else valid_x
        valid_k = torch.ones(m, dtype=torch.bool, device=x.device) if valid_k is None else valid_k
    step = max(1, PARTIAL_NUMBERS // m) * sizes["BLOCK_N"]
    key_blocks = triton.cdiv(m, sizes["BLOCK_M"])
    per_split = triton.cdiv(key_blocks, min(SPLITS, key_blocks))
    splits = triton.cdiv(key_blocks, per_split)
    for start in range(0, n, step):
        part = x[start : start + step]
        mask = None if valid_x is None else valid_x[start : start + step]
        blocks = triton.cdiv(len(part), sizes["BLOCK_N"])
        of_rows, of_keys = _new(x, splits, len(part)), _new(x, blocks, m)
        forward.row_column_kernel[(blocks, splits)](
            part, k, *pointers(x, mask, valid_k), of_rows, of_keys, len(part), m, x.shape[1],
            per_split, HAS_VALID=has_valid, PRECISION=precision(x), **sizes,
        )  # fmt: skip
        row.append(of_rows.logsumexp(dim=0))
        column = torch.logaddexp(column, of_keys.logsumexp(dim=0))
    return torch.cat(row), column


def row_lse(x, k, label_x, label_k, valid_k, own):
    """Log-sum-exp over the candidates, and sum of the scores over the positives."""
    n, m = len(x), len(k)
    if not n or not m:
        return _excluded(x), _zeros(x)
    x, k = readable(x, k)
    sizes, out = tile_sizes(x.shape[1]), [_new(x, n) for _ in range(2)]
    forward.row_kernel[_over_rows(n, sizes)](
        x, k, *pointers(x, label_x, label_k, valid_k), *out, n, m, x.shape[1], own or 0,
        PRECISION=precision(x), **_switches(label_k, valid_k, own), **sizes,
    )  # fmt: skip
    return tuple(out)


def top_lse(x, k, label_x, label_k, valid_k, own):
    """`row_lse` with the largest score kept apart."""
    n, m = len(x), len(k)
    if not n or not m:
        top = torch.zeros(n, dtype=torch.int64, device=x.device)
        return _excluded(x), _excluded(x), _zeros(x), _excluded(x), top
    x, k = readable(x, k)
    sizes, out = tile_sizes(x.shape[1]), [_new(x, n) for _ in range(4)]
    out.append(_new(x, n, dtype=torch.int64))
    forward.top_kernel[_over_rows(n, sizes)](
        x, k, *pointers(x, label_x, label_k, valid_k), *out, n, m, x.shape[1], own or 0,
        PRECISION=precision(x), **_switches(label_k, valid_k, own), **sizes,
    )  # fmt: skip
    return tuple(out)


def repel(x, k, label_x, label_k, valid_k, own, lse, top):
    """−log(1 − p) summed over the negatives."""
    n, m = len(x), len(k)
    if not n or not m:
        return _zeros(x), _zeros(x)
    x, k = readable(x, k)
    sizes, out = tile_sizes(x.shape[1]), [_new(x, n) for _ in range(2)]
    forward.repel_kernel[_over_rows(n, sizes)](
        x, k, *pointers(x, label_x, label_k, valid_k, lse, top), *out, n, m, x.shape[1], own or 0,
        PRECISION=precision(x), **_switches(label_k, valid_k, own), **sizes,
    )  # fmt: skip
    return tuple(out)


def softplus_sum(x, k, bias, valid_k, own):
    """Softplus summed over the keys that are not the row's own."""
    n, m = len(x), len(k)
    if not n or not m:
        return _zeros(x)
    x, k = readable(x, k)
    sizes, out = tile_sizes(x.shape[1]), _new(x, n)
    switches = _switches(None, valid_k, own)
    del switches["HAS_LABELS"]
    forward.softplus_kernel[_over_rows(n, sizes)](
        x, k, *pointers(x, bias.view(1), valid_k), out, n, m, x.shape[1], own or 0,
        PRECISION=precision(x), **switches, **sizes,
    )  # fmt: skip
    return out


def gradients(
    kind, x, k, need_x, need_k, rows, keys=(), place=None, label_x=None, label_k=None,
    valid_k=None, own=None, tx=None, tk=None, sums=None,
):  # fmt: skip
    """dx and dk for the slopes that `kind` computes from the vectors `rows` [N] and `keys` [M].

    If `sums` [N] is given, the sum of each row's slopes is written to it.
    """
    n, m, d = len(x), len(k), x.shape[1]
    dx = torch.zeros(n if need_x or sums is not None else 0, d, device=x.device)
    dk = torch.zeros(m if need_k else 0, d, device=x.device)
    if n and m:
        x, k = readable(x, k)
        tx, tk = (x, k) if tx is None or tk is None else readable(tx, tk)
        sizes = tile_sizes(max(d, tx.shape[1]))
        part = max(16, min(WIDEST, triton.next_power_of_2(d)))
        vectors = pointers(x, *rows, *[None] * (5 - len(rows)), *keys, *[None] * (2 - len(keys)))
        beside = pointers(x, label_x, label_k, valid_k)
        at = pointers(x, place, sums)
        for out, of_keys in ((dx, False), (dk, True)):
            if not len(out):
                continue
            blocks = triton.cdiv(len(out), sizes["BLOCK_M" if of_keys else "BLOCK_N"])
            backward.gradient_kernel[(blocks, triton.cdiv(d, part))](
                x, k, tx, tk, *beside, *vectors, at[0], out, at[1], n, m, d, tx.shape[1], own or 0,
                OF_KEYS=of_keys, SUMS=sums is not None and not of_keys, KIND=kind, PART=part,
                PRECISION=precision(x), **_switches(label_k, valid_k, own), **sizes,
            )  # fmt: skip
    return dx if need_x else dx[:0].clone(), dk


def row_column_lse_backward(
    x, k, valid_x, valid_k, row, column, g_row, g_column, need_x, need_k
):  # fmt: skip
    """Gradients of `row_column_lse`."""
    dx, dk = gradients(
        backward.ROW_COLUMN, x, k, need_x, need_k, (row, g_row), (column, g_column),
        valid_k=valid_k,
    )  # fmt: skip
    if valid_x is not None and need_x:
        dx = torch.where(valid_x[:, None], dx, 0.0)
    return dx, dk


def row_lse_backward(
    x, k, label_x, label_k, valid_k, own, lse, g_lse, g_positive, need_x, need_k
):  # fmt: skip
    """Gradients of `row_lse`."""
    return gradients(
        backward.ROW, x, k, need_x, need_k, (lse, g_lse, g_positive),
        label_x=label_x, label_k=label_k, valid_k=valid_k, own=own,
    )  # fmt: skip


def top_lse_backward(
    x, k, label_x, label_k, valid_k, own, lse, others, top,
    g_lse, g_others, g_positive, need_x, need_k,
):  # fmt: skip
    """Gradients of `top_lse`."""
    return gradients(
        backward.TOP, x, k, need_x, need_k, (lse, others, g_lse, g_others, g_positive),
        place=top, label_x=label_x, label_k=label_k, valid_k=valid_k, own=own,
    )  # fmt: skip


def repel_backward(
    x, k, label_x, label_k, valid_k, own, lse, top, g_repel, need_x, need_k
):  # fmt: skip
    """Gradients of `repel`."""
    return gradients(
        backward.REPEL, x, k, need_x, need_k, (lse, g_repel),
        place=top, label_x=label_x, label_k=label_k, valid_k=valid_k, own=own,
    )  # fmt: skip


def softplus_sum_backward(x, k, bias, valid_k, own, g_sum, need_x, need_k):
    """Gradients of `softplus_sum`."""
    sums = _zeros(x)
    dx, dk = gradients(
        backward.SOFTPLUS, x, k, need_x, need_k, (g_sum,), (bias.view(1),),
        valid_k=valid_k, own=own, sums=sums,
    )  # fmt: skip
    return dx, dk, sums.sum().to(bias.dtype)
