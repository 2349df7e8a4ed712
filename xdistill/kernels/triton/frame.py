"""What the Triton kernels share: a tile of scores, which of its keys count, and sizes of tiles.

Nothing here was timed on a GPU yet: the sizes are chosen so that a tile, its operands and a chunk
of gradients fit the registers and the shared memory of one multiprocessor.

Kernels are `no_type_check`: Triton compiles their source and looks their names up in this module,
where a checker's wrapper would hide them.
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
"""Rows and keys of a tile, and how much of D one step of its matrix product takes."""

WIDEST = 256
"""Columns of a gradient that one program holds; a wider one is shared by several."""


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
    """Which keys of a tile are there. valid_k: [M] bytes."""
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
    """The keys that should be near."""
    if HAS_LABELS:
        same = (of_row[:, None] >= 0) & (of_row[:, None] == of_key[None, :])
        return there[None, :] & (own_pair | same)
    else:
        return there[None, :] & own_pair


@triton.jit
@no_type_check
def negatives(of_row, of_key, there, own_pair, HAS_LABELS: tl.constexpr):
    """The keys that are known to be of another kind."""
    apart = there[None, :] & (own_pair == 0)
    if HAS_LABELS:
        known = (of_row[:, None] >= 0) & (of_key[None, :] >= 0)
        return apart & known & (of_row[:, None] != of_key[None, :])
    else:
        return apart


@triton.jit
@no_type_check
def labels_of(label, places, count, HAS_LABELS: tl.constexpr):
    """label: [count]. Zeros where there are none."""
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
    """float32 is multiplied as it is: TF32 would err more than the dense loss does."""
    return "ieee" if x.dtype == torch.float32 else "tf32"


def pointers(x: Tensor, *vectors: Tensor | None) -> list[Tensor]:
    """Contiguous vectors; `x` stands for a missing one, which no kernel reads. Masks as bytes."""
    found = []
    for vector in vectors:
        if vector is None:
            found.append(x)
        else:
            vector = vector.to(torch.uint8) if vector.dtype == torch.bool else vector
            found.append(vector.contiguous())
    return found


def tile_sizes(d: int) -> dict[str, Any]:
    """The constants that every kernel takes."""
    width = max(16, min(WIDTH, triton.next_power_of_2(d)))
    return {"BLOCK_N": ROWS, "BLOCK_M": KEYS, "WIDTH": width}
