"""Triton kernels of the forward passes: one program per block of rows, which loops over the keys.

Comments give the shapes behind the pointers. Everything is row-major and contiguous, masks are
bytes, labels are int64. A program writes only what it owns; no addition is atomic.
"""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl

from xdistill.kernels.triton.frame import (
    EXCLUDED,
    candidates,
    labels_of,
    log1p,
    negatives,
    own_pairs,
    positives,
    present,
    scores,
)


@triton.jit
@no_type_check
def row_column_kernel(
    x,  # [N, D], a chunk of the rows
    k,  # [M, D]
    valid_x,  # [N] bytes
    valid_k,  # [M] bytes
    row,  # [splits, N] out: log-sum-exp over a split of the keys
    column,  # [blocks of rows, M] out: log-sum-exp over a block of rows
    n,
    m,
    d,
    per_split,  # blocks of keys of a program
    HAS_VALID: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program: a block of rows and a split of the keys."""
    block, split = tl.program_id(0), tl.program_id(1)
    rows = block * BLOCK_N + tl.arange(0, BLOCK_N)
    kept = present(rows, n, valid_x, HAS_VALID)
    high = tl.full([BLOCK_N], EXCLUDED, dtype=tl.float32)
    total = tl.zeros([BLOCK_N], dtype=tl.float32)
    for at in range(split * per_split, (split + 1) * per_split):
        keys = at * BLOCK_M + tl.arange(0, BLOCK_M)
        s = scores(x, k, rows, keys, n, m, d, WIDTH, PRECISION)
        there = present(keys, m, valid_k, HAS_VALID)
        of_keys = tl.where(kept[:, None], s, EXCLUDED)
        peak = tl.max(of_keys, 0)
        of_keys = peak + tl.log(tl.sum(tl.exp(of_keys - peak[None, :]), 0))
        s = tl.where(there[None, :], s, EXCLUDED)
        top = tl.maximum(high, tl.max(s, 1))
        total = total * tl.exp(high - top) + tl.sum(tl.exp(s - top[:, None]), 1)
        high = top
        tl.store(column + block.to(tl.int64) * m + keys, of_keys, mask=keys < m)
    # A split beyond the last key has no scores, and its sum is 0.
    value = tl.where(total > 0, high + tl.log(total), EXCLUDED)
    tl.store(row + split.to(tl.int64) * n + rows, value, mask=rows < n)


@triton.jit
@no_type_check
def row_kernel(
    x,  # [N, D]
    k,  # [M, D]
    label_x,  # [N]
    label_k,  # [M]
    valid_k,  # [M] bytes
    lse,  # [N] out
    positive,  # [N] out: sum of the scores of the positives
    n,
    m,
    d,
    own,
    HAS_LABELS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    HAS_OWN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Log-sum-exp over the candidates, sum of the scores over the positives."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    of_row = labels_of(label_x, rows, n, HAS_LABELS)
    high = tl.full([BLOCK_N], EXCLUDED, dtype=tl.float32)
    total = tl.zeros([BLOCK_N], dtype=tl.float32)
    near = tl.zeros([BLOCK_N], dtype=tl.float32)
    for at in range(0, tl.cdiv(m, BLOCK_M)):
        keys = at * BLOCK_M + tl.arange(0, BLOCK_M)
        s = scores(x, k, rows, keys, n, m, d, WIDTH, PRECISION)
        there = present(keys, m, valid_k, HAS_VALID)
        of_key = labels_of(label_k, keys, m, HAS_LABELS)
        pair = own_pairs(rows, keys, own, HAS_OWN)
        near += tl.sum(tl.where(positives(of_row, of_key, there, pair, HAS_LABELS), s, 0.0), 1)
        s = tl.where(candidates(of_row, of_key, there, pair, HAS_LABELS), s, EXCLUDED)
        top = tl.maximum(high, tl.max(s, 1))
        total = total * tl.exp(high - top) + tl.sum(tl.exp(s - top[:, None]), 1)
        high = top
    tl.store(lse + rows, high + tl.log(total), mask=rows < n)
    tl.store(positive + rows, near, mask=rows < n)


@triton.jit
@no_type_check
def top_kernel(
    x,  # [N, D]
    k,  # [M, D]
    label_x,  # [N]
    label_k,  # [M]
    valid_k,  # [M] bytes
    lse,  # [N] out
    others,  # [N] out: log-sum-exp without the largest
    positive,  # [N] out
    highest,  # [N] out
    place,  # [N] out, int64: position of the largest
    n,
    m,
    d,
    own,
    HAS_LABELS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    HAS_OWN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """As `row_kernel`, with the largest score apart: `high` and `rest` are of all other scores."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    of_row = labels_of(label_x, rows, n, HAS_LABELS)
    best = tl.full([BLOCK_N], EXCLUDED, dtype=tl.float32)
    where = tl.zeros([BLOCK_N], dtype=tl.int32)
    high = tl.full([BLOCK_N], EXCLUDED, dtype=tl.float32)
    rest = tl.zeros([BLOCK_N], dtype=tl.float32)
    near = tl.zeros([BLOCK_N], dtype=tl.float32)
    for at in range(0, tl.cdiv(m, BLOCK_M)):
        keys = at * BLOCK_M + tl.arange(0, BLOCK_M)
        s = scores(x, k, rows, keys, n, m, d, WIDTH, PRECISION)
        there = present(keys, m, valid_k, HAS_VALID)
        of_key = labels_of(label_k, keys, m, HAS_LABELS)
        pair = own_pairs(rows, keys, own, HAS_OWN)
        near += tl.sum(tl.where(positives(of_row, of_key, there, pair, HAS_LABELS), s, 0.0), 1)
        s = tl.where(candidates(of_row, of_key, there, pair, HAS_LABELS), s, EXCLUDED)
        of_tile = tl.max(s, 1)
        first = tl.min(tl.where(s == of_tile[:, None], keys[None, :], m), 1)
        s = tl.where(keys[None, :] == first[:, None], EXCLUDED, s)
        loser = tl.minimum(best, of_tile)
        where = tl.where(of_tile > best, first, where)
        best = tl.maximum(best, of_tile)
        top = tl.maximum(tl.maximum(high, tl.max(s, 1)), loser)
        rest = rest * tl.exp(high - top) + tl.sum(tl.exp(s - top[:, None]), 1)
        rest += tl.exp(loser - top)
        high = top
    without = high + tl.log(rest)
    larger = tl.maximum(without, best)
    both = larger + tl.log(tl.exp(without - larger) + tl.exp(best - larger))
    tl.store(lse + rows, both, mask=rows < n)
    tl.store(others + rows, without, mask=rows < n)
    tl.store(positive + rows, near, mask=rows < n)
    tl.store(highest + rows, best, mask=rows < n)
    tl.store(place + rows, where.to(tl.int64), mask=rows < n)


@triton.jit
@no_type_check
def repel_kernel(
    x,  # [N, D]
    k,  # [M, D]
    label_x,  # [N]
    label_k,  # [M]
    valid_k,  # [M] bytes
    lse,  # [N]
    place,  # [N] int64: left out
    total,  # [N] out: sum of −log(1 − p)
    weight,  # [N] out: sum of p/(1 − p)
    n,
    m,
    d,
    own,
    HAS_LABELS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    HAS_OWN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Sums over the negatives but the largest score."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    of_row = labels_of(label_x, rows, n, HAS_LABELS)
    softmax = tl.load(lse + rows, mask=rows < n, other=0.0)
    top = tl.load(place + rows, mask=rows < n, other=-1)
    cost = tl.zeros([BLOCK_N], dtype=tl.float32)
    odds = tl.zeros([BLOCK_N], dtype=tl.float32)
    for at in range(0, tl.cdiv(m, BLOCK_M)):
        keys = at * BLOCK_M + tl.arange(0, BLOCK_M)
        s = scores(x, k, rows, keys, n, m, d, WIDTH, PRECISION)
        there = present(keys, m, valid_k, HAS_VALID)
        of_key = labels_of(label_k, keys, m, HAS_LABELS)
        pair = own_pairs(rows, keys, own, HAS_OWN)
        far = negatives(of_row, of_key, there, pair, HAS_LABELS)
        far = far & (keys[None, :].to(tl.int64) != top[:, None])
        p = tl.where(far, tl.exp(tl.minimum(s - softmax[:, None], -0.6931471805599453)), 0.0)
        cost -= tl.sum(log1p(-p), 1)
        odds += tl.sum(p / (1.0 - p), 1)
    tl.store(total + rows, cost, mask=rows < n)
    tl.store(weight + rows, odds, mask=rows < n)


@triton.jit
@no_type_check
def softplus_kernel(
    x,  # [N, D]
    k,  # [M, D]
    bias,  # [1]
    valid_k,  # [M] bytes
    total,  # [N] out
    n,
    m,
    d,
    own,
    HAS_VALID: tl.constexpr,
    HAS_OWN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Sum of softplus(s + bias) over the keys that are not the row's own."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    shift = tl.load(bias)
    cost = tl.zeros([BLOCK_N], dtype=tl.float32)
    for at in range(0, tl.cdiv(m, BLOCK_M)):
        keys = at * BLOCK_M + tl.arange(0, BLOCK_M)
        z = scores(x, k, rows, keys, n, m, d, WIDTH, PRECISION) + shift
        apart = present(keys, m, valid_k, HAS_VALID)[None, :]
        apart = apart & (own_pairs(rows, keys, own, HAS_OWN) == 0)
        value = tl.maximum(z, 0.0) + log1p(tl.exp(-tl.abs(z)))
        cost += tl.sum(tl.where(apart, value, 0.0), 1)
    tl.store(total + rows, cost, mask=rows < n)


@triton.jit
@no_type_check
def affinity_kernel(
    x,  # [N, D]
    k,  # [M, D]
    tx,  # [N, E]
    tk,  # [M, E]
    valid_k,  # [M] bytes
    lse,  # [N] out
    target_lse,  # [N] out
    cross,  # [N] out: mean of t − s under softmax(t)
    n,
    m,
    d,
    e,
    own,
    HAS_VALID: tl.constexpr,
    HAS_OWN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The two softmaxes of each row, and the gap between them."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    high = tl.full([BLOCK_N], EXCLUDED, dtype=tl.float32)
    high_t = tl.full([BLOCK_N], EXCLUDED, dtype=tl.float32)
    total = tl.zeros([BLOCK_N], dtype=tl.float32)
    total_t = tl.zeros([BLOCK_N], dtype=tl.float32)
    gap = tl.zeros([BLOCK_N], dtype=tl.float32)
    for at in range(0, tl.cdiv(m, BLOCK_M)):
        keys = at * BLOCK_M + tl.arange(0, BLOCK_M)
        s = scores(x, k, rows, keys, n, m, d, WIDTH, PRECISION)
        t = scores(tx, tk, rows, keys, n, m, e, WIDTH, PRECISION)
        met = present(keys, m, valid_k, HAS_VALID)[None, :]
        met = met & (own_pairs(rows, keys, own, HAS_OWN) == 0)
        difference = tl.where(met, t - s, 0.0)
        s = tl.where(met, s, EXCLUDED)
        t = tl.where(met, t, EXCLUDED)
        top = tl.maximum(high, tl.max(s, 1))
        total = total * tl.exp(high - top) + tl.sum(tl.exp(s - top[:, None]), 1)
        high = top
        top = tl.maximum(high_t, tl.max(t, 1))
        weight = tl.exp(t - top[:, None])
        before = tl.exp(high_t - top)
        total_t = total_t * before + tl.sum(weight, 1)
        gap = gap * before + tl.sum(weight * difference, 1)
        high_t = top
    tl.store(lse + rows, high + tl.log(total), mask=rows < n)
    tl.store(target_lse + rows, high_t + tl.log(total_t), mask=rows < n)
    tl.store(cross + rows, gap / total_t, mask=rows < n)
