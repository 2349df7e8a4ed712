"""The pass of `passes.affinity_stats` in Triton."""

# Kernels are called with unpacked lists, whose lengths a type checker does not know.
# pyright: reportCallIssue=false

from __future__ import annotations

import torch
import triton

from xdistill.kernels.triton import backward, forward
from xdistill.kernels.triton.frame import pointers, precision, tile_sizes
from xdistill.kernels.triton.passes import gradients, readable
from xdistill.numerics import EXCLUDED


def affinity_stats(x, k, tx, tk, valid_k, own):
    """Softmax statistics of student and teacher."""
    n, m = len(x), len(k)
    lse, target, cross = (torch.full((n,), EXCLUDED, device=x.device) for _ in range(3))
    if not n or not m:
        return lse, target, torch.zeros(n, device=x.device)
    x, k = readable(x, k)
    tx, tk = readable(tx, tk)
    sizes = tile_sizes(max(x.shape[1], tx.shape[1]))
    forward.affinity_kernel[(triton.cdiv(n, sizes["BLOCK_N"]),)](
        x, k, tx, tk, *pointers(x, valid_k), lse, target, cross, n, m, x.shape[1], tx.shape[1],
        own or 0, HAS_VALID=valid_k is not None, HAS_OWN=own is not None,
        PRECISION=precision(x), **sizes,
    )  # fmt: skip
    return lse, target, cross


def affinity_stats_backward(
    x, k, tx, tk, valid_k, own, lse, target_lse, g_lse, g_cross, need_x, need_k
):  # fmt: skip
    """Gradients of `affinity_stats` in x and k; the teacher is a constant."""
    return gradients(
        backward.AFFINITY, x, k, need_x, need_k, (lse, target_lse, g_lse, g_cross),
        valid_k=valid_k, own=own, tx=tx, tk=tk,
    )  # fmt: skip
