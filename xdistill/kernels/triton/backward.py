"""Triton kernels of the backward passes: the gradient of the rows, and that of the keys.

Each computes the scores again. A program owns a block of rows (or of keys) and a part of the
columns of their gradient, and loops over all keys (or rows); no addition is atomic. The losses
differ in the tile of ∂loss/∂scores, `slopes`, which is computed from vectors of rows and keys.
"""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl

from xdistill.kernels.triton.frame import (
    candidates,
    labels_of,
    negatives,
    own_pairs,
    positives,
    present,
    scores,
)

ROW_COLUMN = tl.constexpr(0)
ROW = tl.constexpr(1)
TOP = tl.constexpr(2)
REPEL = tl.constexpr(3)
SOFTPLUS = tl.constexpr(4)
AFFINITY = tl.constexpr(5)


@triton.jit
@no_type_check
def _of(vector, places, count):
    return tl.load(vector + places, mask=places < count, other=0.0)


@triton.jit
@no_type_check
def _softmax(s, lse):
    """e^(s − lse), at most 1: without candidates lse is far below every score."""
    return tl.exp(tl.minimum(s - lse, 0.0))


@triton.jit
@no_type_check
def slopes(
    x, k, tx, tk, label_x, label_k, valid_k,  # as in the kernels below
    v0, v1, v2, v3, v4, u0, u1, place,
    rows, keys, n, m, d, e, own,
    KIND: tl.constexpr, HAS_LABELS: tl.constexpr, HAS_VALID: tl.constexpr, HAS_OWN: tl.constexpr,
    WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile of the derivative of the loss in the scores; 0 beyond the last row and key."""
    s = scores(x, k, rows, keys, n, m, d, WIDTH, PRECISION)
    there = present(keys, m, valid_k, HAS_VALID)
    inside = (rows < n)[:, None] & there[None, :]
    pair = own_pairs(rows, keys, own, HAS_OWN)
    of_row = labels_of(label_x, rows, n, HAS_LABELS)
    of_key = labels_of(label_k, keys, m, HAS_LABELS)
    g = tl.zeros_like(s)
    if KIND == ROW_COLUMN:  # v: row, its gradient; u: column, its gradient
        g = _softmax(s, _of(v0, rows, n)[:, None]) * _of(v1, rows, n)[:, None]
        g += _softmax(s, _of(u0, keys, m)[None, :]) * _of(u1, keys, m)[None, :]
    elif KIND == ROW:  # v: lse, its gradient, and that of the sum over positives
        g = _softmax(s, _of(v0, rows, n)[:, None]) * _of(v1, rows, n)[:, None]
        g = tl.where(candidates(of_row, of_key, there, pair, HAS_LABELS), g, 0.0)
        near = positives(of_row, of_key, there, pair, HAS_LABELS)
        g += tl.where(near, _of(v2, rows, n)[:, None], 0.0)
    elif KIND == TOP:  # v: lse, others, and the gradients of lse, others, sum over positives
        g = _softmax(s, _of(v0, rows, n)[:, None]) * _of(v2, rows, n)[:, None]
        top = tl.load(place + rows, mask=rows < n, other=-1)
        rest = _softmax(s, _of(v1, rows, n)[:, None]) * _of(v3, rows, n)[:, None]
        g += tl.where(keys[None, :].to(tl.int64) == top[:, None], 0.0, rest)
        g = tl.where(candidates(of_row, of_key, there, pair, HAS_LABELS), g, 0.0)
        near = positives(of_row, of_key, there, pair, HAS_LABELS)
        g += tl.where(near, _of(v4, rows, n)[:, None], 0.0)
    elif KIND == REPEL:  # v: lse, the gradient
        top = tl.load(place + rows, mask=rows < n, other=-1)
        far = negatives(of_row, of_key, there, pair, HAS_LABELS)
        far = far & (keys[None, :].to(tl.int64) != top[:, None])
        p = tl.exp(tl.minimum(s - _of(v0, rows, n)[:, None], -0.6931471805599453))
        g = tl.where(far, p / (1.0 - p) * _of(v1, rows, n)[:, None], 0.0)
    elif KIND == SOFTPLUS:  # v: the gradient; u0: the bias, [1]
        z = s + tl.load(u0)
        small = tl.exp(-tl.abs(z))
        sigmoid = tl.where(z >= 0, 1.0, small) / (1.0 + small)
        g = tl.where(pair, 0.0, sigmoid * _of(v0, rows, n)[:, None])
    else:  # AFFINITY. v: lse, the teacher's, and the gradients of lse and cross
        t = scores(tx, tk, rows, keys, n, m, e, WIDTH, PRECISION)
        g = _softmax(s, _of(v0, rows, n)[:, None]) * _of(v2, rows, n)[:, None]
        g -= _softmax(t, _of(v1, rows, n)[:, None]) * _of(v3, rows, n)[:, None]
        g = tl.where(pair, 0.0, g)
    return tl.where(inside, g, 0.0)


@triton.jit
@no_type_check
def gradient_kernel(
    x,  # [N, D]
    k,  # [M, D]
    tx,  # [N, E] of AFFINITY
    tk,  # [M, E] of AFFINITY
    label_x,  # [N] int64
    label_k,  # [M] int64
    valid_k,  # [M] bytes
    v0, v1, v2, v3, v4,  # [N] vectors of the rows
    u0, u1,  # [M] vectors of the keys
    place,  # [N] int64
    out,  # [N, D], or [M, D] with OF_KEYS
    sums,  # [N] out, with SUMS: the sum of the slopes of each row
    n, m, d, e, own,
    OF_KEYS: tl.constexpr, SUMS: tl.constexpr, KIND: tl.constexpr,
    HAS_LABELS: tl.constexpr, HAS_VALID: tl.constexpr, HAS_OWN: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, WIDTH: tl.constexpr, PART: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Program (b, c): block b of the rows or keys, PART columns of their gradient from c · PART."""
    columns = tl.program_id(1) * PART + tl.arange(0, PART)
    own_row = tl.zeros([BLOCK_N], dtype=tl.float32)
    if OF_KEYS:
        keys = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
        total = tl.zeros([BLOCK_M, PART], dtype=tl.float32)
        steps = tl.cdiv(n, BLOCK_N)
    else:
        rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
        total = tl.zeros([BLOCK_N, PART], dtype=tl.float32)
        steps = tl.cdiv(m, BLOCK_M)
    for at in range(0, steps):
        if OF_KEYS:
            rows = at * BLOCK_N + tl.arange(0, BLOCK_N)
        else:
            keys = at * BLOCK_M + tl.arange(0, BLOCK_M)
        g = slopes(
            x, k, tx, tk, label_x, label_k, valid_k, v0, v1, v2, v3, v4, u0, u1, place,
            rows, keys, n, m, d, e, own,
            KIND, HAS_LABELS, HAS_VALID, HAS_OWN, WIDTH, PRECISION,
        )  # fmt: skip
        if OF_KEYS:
            other = tl.load(
                x + rows[:, None].to(tl.int64) * d + columns[None, :],
                mask=(rows[:, None] < n) & (columns[None, :] < d),
                other=0.0,
            )
            total += tl.dot(tl.trans(g).to(other.dtype), other, input_precision=PRECISION)
        else:
            other = tl.load(
                k + keys[:, None].to(tl.int64) * d + columns[None, :],
                mask=(keys[:, None] < m) & (columns[None, :] < d),
                other=0.0,
            )
            total += tl.dot(g.to(other.dtype), other, input_precision=PRECISION)
        if SUMS:
            own_row += tl.sum(g, 1)
    if OF_KEYS:
        tl.store(
            out + keys[:, None].to(tl.int64) * d + columns[None, :],
            total,
            mask=(keys[:, None] < m) & (columns[None, :] < d),
        )
    else:
        tl.store(
            out + rows[:, None].to(tl.int64) * d + columns[None, :],
            total,
            mask=(rows[:, None] < n) & (columns[None, :] < d),
        )
        if SUMS:
            tl.store(sums + rows, own_row, mask=(rows < n) & (tl.program_id(1) == 0))
