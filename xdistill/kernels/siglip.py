"""The pairwise sigmoid loss, without the matrix of similarities."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.kernels.dispatch import Impl, choose
from xdistill.kernels.distributed import (
    Gather,
    count_over_ranks,
    gather_keys,
    part_of,
    share,
    sum_over_ranks,
    whole_keys,
    whole_rows,
)
from xdistill.kernels.keys import Keys, Rows, check_beside, check_rows, prepare, working_dtype
from xdistill.kernels.passes.softplus_sum import softplus_sum
from xdistill.kernels.reference import passes as reference


def siglip(
    rows: Float[Tensor, "n d"],
    keys: Float[Tensor, "m d"],
    scale: float | Float[Tensor, ""],
    bias: float | Float[Tensor, ""],
    *,
    valid: Bool[Tensor, " n"] | None = None,
    extra: Float[Tensor, "l d"] | None = None,
    extra_valid: Bool[Tensor, " l"] | None = None,
    gather: Gather = "none",
    impl: Impl = "auto",
) -> Float[Tensor, ""]:
    """−Σ_ij log σ(y_ij·(scale · rows_i·keys_j + bias)) / P, y_ij = 1 for i = j and −1 elsewhere.

    Zhai et al., ICCV 2023, eq. 1 and algorithm 1. P is the number of valid pairs (rows_i, keys_i),
    i < min(N, M); the sum is over all valid rows and keys. The value is 0 when no pair is valid.

    Args:
        rows: unit rows.
        keys: unit rows; keys[i] belongs to rows[i].
        scale: multiplier of the similarities, 1 / temperature. A multiplier because SigLIP learns
            one: a tensor that requires a gradient gets one.
        bias: added to the scaled similarities; learned likewise.
        valid: False for pairs that take no part; they may hold anything, NaN included.
        extra: more negatives for `rows`, from a memory bank for instance; they get no gradient.
        extra_valid: False for extra keys to ignore, such as empty slots of a bank.
        gather: "all" collects the keys of all processes here, "ring" passes them on from process to
            process; either way the value is that of the whole batch (`distributed`). `extra` must
            be the same on every process.
        impl: "reference" builds the [N, M + L] scores; "tiled" and "triton" hold O(N + M) numbers.

    Raises:
        ValueError: shapes that do not fit, batches of different sizes on the processes, or an
            `impl` that cannot run here.
    """
    check_rows("siglip", rows, keys, extra)
    check_beside("siglip", valid=(valid, rows), extra_valid=(extra_valid, extra))
    if valid is not None and len(rows) != len(keys):
        raise ValueError(
            f"siglip: valid is a mask of pairs and needs as many keys as rows, got {len(rows)} "
            f"rows and {len(keys)} keys; drop the rows without a pair, or give valid=None"
        )
    ranks = share("siglip", gather, rows, keys)
    chosen = choose("siglip", impl, rows, len(keys) * ranks.size)
    dtype = working_dtype(chosen, rows, keys)
    with torch.autocast(rows.device.type, enabled=False):
        anchors = Rows(prepare(rows, valid, dtype, scale), None, valid)
        batch = Keys(prepare(keys, valid, dtype), None, valid, 0)
        more: list[Keys] = []
        if extra is not None:
            more = [Keys(prepare(extra.detach(), extra_valid, dtype), None, extra_valid)]
        wide = torch.promote_types(dtype, torch.float32)
        if isinstance(bias, Tensor):
            bias = bias.to(wide)
        else:  # created on the device, since a copy from the host would wait for it
            bias = torch.full((), bias, dtype=wide, device=rows.device)
        if chosen == "reference":
            anchors, batch = whole_rows(anchors, ranks), whole_keys(batch, ranks)
            return reference.siglip(anchors, [batch, *more], part_of(bias, ranks))
        here = batch if ranks.ring else gather_keys(batch, ranks)
        apart = softplus_sum(anchors, here, bias, chosen, ranks)
        for others in more:
            apart = apart + softplus_sum(anchors, others, bias, chosen)
        p = min(len(rows), len(keys))
        own = (anchors.x[:p].to(wide) * batch.k[:p].to(wide)).sum(dim=1) + bias
        together = -F.logsigmoid(own)
        if valid is not None:
            apart, together = torch.where(valid, apart, 0.0), torch.where(valid, together, 0.0)
        counted = torch.ones_like(own, dtype=torch.bool) if valid is None else valid
        count = count_over_ranks(counted, ranks)
        total = sum_over_ranks(apart.sum() + together.sum(), ranks)
        # Without a pair there may still be rows and extra keys, whose costs do not count.
        return torch.where(count > 0, total / count.clamp(min=1), 0.0 * total)
