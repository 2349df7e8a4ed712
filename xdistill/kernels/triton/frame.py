"""What the Triton kernels share: a tile of scores, masks over its keys, and the sizes of tiles.

The sizes are chosen so that a tile, its operands and a chunk of gradients fit the registers and the
shared memory of one multiprocessor. They have not been timed on a GPU.

Kernels are `no_type_check`: Triton compiles their source and looks their names up in this module,
where the wrapper of a run-time type checker would hide them.
"""

from __future__ import annotations

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from xdistill import numerics

EXCLUDED = tl.constexpr(numerics.EXCLUDED)
ROWS, KEYS, WIDTH = 64, 64, 64
"""Rows and keys of a tile, and the columns that one step of its matrix product reads."""

WIDEST = 256
"""Columns of a gradient in one program; a wider gradient is divided among several."""


@triton.jit
@no_type_check
def scores(
    x,  # [N, D]
    k,  # [M, D]
    rows,  # [BLOCK_N]
    keys,  # [BLOCK_M]
    n,
    m,
    d,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """x[rows] @ k[keys].T in float32; 0 beyond the last row or key."""
    result = tl.zeros([rows.shape[0], keys.shape[0]], dtype=tl.float32)
    for start in range(0, d, WIDTH):
        columns = start + tl.arange(0, WIDTH)
        a = tl.load(
            x + rows[:, None].to(tl.int64) * d + columns[None, :],
            mask=(rows[:, None] < n) & (columns[None, :] < d),
            other=0.0,
        )
        b = tl.load(
            k + keys[None, :].to(tl.int64) * d + columns[:, None],
            mask=(keys[None, :] < m) & (columns[:, None] < d),
            other=0.0,
        )
        result += tl.dot(a, b, input_precision=PRECISION)
    return result


@triton.jit
@no_type_check
def present(keys, m, valid_k, HAS_VALID: tl.constexpr):
    """Which keys of a tile exist and are valid. valid_k: [M] bytes."""
    there = keys < m
    if HAS_VALID:
        there = there & (tl.load(valid_k + keys, mask=there, other=0) != 0)
    return there


@triton.jit
@no_type_check
def own_pairs(rows, keys, own, HAS_OWN: tl.constexpr):
    """[BLOCK_N, BLOCK_M]: key j is row i's own when j = i + own."""
    if HAS_OWN:
        return keys[None, :].to(tl.int64) == rows[:, None].to(tl.int64) + own
    else:
        return (keys[None, :] + rows[:, None]) < 0


@triton.jit
@no_type_check
def candidates(of_row, of_key, there, own_pair, HAS_LABELS: tl.constexpr):
    """The keys of each row's softmax, from the labels of both sides (-1: unknown)."""
    if HAS_LABELS:
        return there[None, :] & (own_pair | (of_key[None, :] >= 0) | (of_row[:, None] < 0))
    else:
        return there[None, :] & (of_row[:, None] == of_row[:, None])


@triton.jit
@no_type_check
def positives(of_row, of_key, there, own_pair, HAS_LABELS: tl.constexpr):
    """Each row's own key and the keys of its label."""
    if HAS_LABELS:
        same = (of_row[:, None] >= 0) & (of_row[:, None] == of_key[None, :])
        return there[None, :] & (own_pair | same)
    else:
        return there[None, :] & own_pair


@triton.jit
@no_type_check
def negatives(of_row, of_key, there, own_pair, HAS_LABELS: tl.constexpr):
    """The keys known to have another label; without labels all but the own one."""
    apart = there[None, :] & (own_pair == 0)
    if HAS_LABELS:
        known = (of_row[:, None] >= 0) & (of_key[None, :] >= 0)
        return apart & known & (of_row[:, None] != of_key[None, :])
    else:
        return apart


@triton.jit
@no_type_check
def labels_of(label, places, count, HAS_LABELS: tl.constexpr):
    """The labels at some places, -1 beyond the last. label: [count]. Zeros without labels."""
    if HAS_LABELS:
        return tl.load(label + places, mask=places < count, other=-1)
    else:
        return tl.zeros([places.shape[0]], dtype=tl.int64)


@triton.jit
@no_type_check
def log1p(e):
    """log(1 + e) for e from -1/2 to 1; 1 + e alone would lose a small e."""
    series = e * (1.0 - e * (0.5 - e * (1.0 / 3.0 - e * 0.25)))
    return tl.where(tl.abs(e) < 0.02, series, tl.log(1.0 + e))


def precision(x: Tensor) -> str:
    """float32 is multiplied exactly: TF32 would have a larger error than the reference."""
    return "ieee" if x.dtype == torch.float32 else "tf32"


def pointers(x: Tensor, *vectors: Tensor | None) -> list[Tensor]:
    """Contiguous vectors, masks as bytes. `x` replaces a missing one, which no kernel reads."""
    found = []
    for vector in vectors:
        if vector is None:
            found.append(x)
        else:
            vector = vector.to(torch.uint8) if vector.dtype == torch.bool else vector
            found.append(vector.contiguous())
    return found


def tile_sizes(d: int) -> dict[str, Any]:
    """The compile-time sizes of every kernel."""
    width = max(16, min(WIDTH, triton.next_power_of_2(d)))
    return {"BLOCK_N": ROWS, "BLOCK_M": KEYS, "WIDTH": width}
