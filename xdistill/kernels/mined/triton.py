"""Mining by distance in Triton: a running list of the K nearest instead of a sort of all keys."""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.kernels.mined.mining import Mined
from xdistill.kernels.mined.options import Options
from xdistill.kernels.mined.relations import Relations

POSITIVES, KEYS = 16, 128
"""Bounds of one anchor, and keys, that a program compares at a time. Not timed on a GPU."""


@triton.jit
@no_type_check
def nearest_kernel(
    distance,  # [C, M]
    negative,  # [C, M] bytes
    low,  # [C, P]
    high,  # [C, P]
    wanted,  # [C, P] bytes
    place,  # [C, P, K] out, int64
    found,  # [C, P, K] out, bytes
    p,
    m,
    k,
    POSITIVES: tl.constexpr,
    KEYS: tl.constexpr,
    SLOTS: tl.constexpr,  # K, up to the next power of two
):
    """Program (i, b): for anchor i and block b of its bounds, the K nearest with low < d < high."""
    anchor = tl.program_id(0).to(tl.int64)
    bounds = tl.program_id(1) * POSITIVES + tl.arange(0, POSITIVES)
    slots = tl.arange(0, SLOTS)
    least = tl.load(low + anchor * p + bounds, mask=bounds < p, other=0.0)
    most = tl.load(high + anchor * p + bounds, mask=bounds < p, other=0.0)
    asked = tl.load(wanted + anchor * p + bounds, mask=bounds < p, other=0) != 0
    # The nearest so far, in any order; slots beyond K hold -inf and are never replaced.
    best = tl.where(slots[None, :] < k, float("inf"), -float("inf"))
    best = best + tl.zeros([POSITIVES, SLOTS], dtype=tl.float32)
    where = tl.zeros([POSITIVES, SLOTS], dtype=tl.int32) - 1 - slots[None, :]
    for start in range(0, m, KEYS):
        keys = start + tl.arange(0, KEYS)
        d = tl.load(distance + anchor * m + keys, mask=keys < m, other=float("inf"))
        far = tl.load(negative + anchor * m + keys, mask=keys < m, other=0) != 0
        legal = far[None, :] & (d[None, :] > least[:, None]) & (d[None, :] < most[:, None])
        legal = legal & asked[:, None]
        d = tl.where(legal, d[None, :], float("inf"))
        for _ in range(0, k):
            nearest = tl.min(d, 1)
            at = tl.min(tl.where(d == nearest[:, None], keys[None, :], m), 1)
            worst = tl.max(best, 1)
            # Of slots at one distance that of the last key is replaced: equal keys stay in order.
            last = tl.max(tl.where(best == worst[:, None], where, -1 - SLOTS), 1)
            gives = (best == worst[:, None]) & (where == last[:, None])
            gives = gives & (nearest < worst)[:, None]
            best = tl.where(gives, nearest[:, None], best)
            where = tl.where(gives, at[:, None], where)
            d = tl.where(keys[None, :] == at[:, None], float("inf"), d)
    inside = (bounds[:, None] < p) & (slots[None, :] < k)
    there = (best < float("inf")) & (slots[None, :] < k)
    to = (anchor * p + bounds[:, None]) * k + slots[None, :]
    tl.store(place + to, tl.where(there, where, 0).to(tl.int64), mask=inside)
    tl.store(found + to, there.to(tl.uint8), mask=inside)


def mine(distance: Float[Tensor, "c m"], relations: Relations, options: Options, own: int) -> Mined:
    """The nearest negatives of each anchor, or the semi-hard ones of each of its positives."""
    if options.mining == "semihard":
        near = distance[:, : relations.positive.shape[1]]
        low, high, wanted = near, near + options.margin, relations.positive
    else:
        low, high = (distance.new_full((len(distance), 1), x) for x in (-torch.inf, torch.inf))
        wanted = relations.keep[:, None]
    return nearest(distance, relations.negative, low, high, wanted, options.num_negatives)


def nearest(
    distance: Float[Tensor, "c m"],
    negative: Bool[Tensor, "c m"],
    low: Float[Tensor, "c p"],
    high: Float[Tensor, "c p"],
    wanted: Bool[Tensor, "c p"],
    count: int,
) -> Mined:
    """Per anchor and pair of bounds the `count` nearest negatives with low < d < high.

    Bounds that are not `wanted` are skipped and find nothing.
    """
    c, m = distance.shape
    p, k = low.shape[1], min(count, m)
    place = torch.zeros((c, p, k), dtype=torch.int64, device=distance.device)
    found = torch.zeros((c, p, k), dtype=torch.uint8, device=distance.device)
    if c and p and k:
        nearest_kernel[(c, triton.cdiv(p, POSITIVES))](
            distance.contiguous(), negative.to(torch.uint8), low.contiguous(), high.contiguous(),
            wanted.to(torch.uint8).contiguous(), place, found, p, m, k,
            POSITIVES=POSITIVES, KEYS=KEYS, SLOTS=triton.next_power_of_2(k),
        )  # fmt: skip
    return Mined(place, found.bool())
