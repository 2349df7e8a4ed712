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
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    scale: float | Float[Tensor, ""],
    bias: float | Float[Tensor, ""],
    *,
    valid: Bool[Tensor, " n"] | None = None,
    extra: Float[Tensor, "l d"] | None = None,
    extra_valid: Bool[Tensor, " l"] | None = None,
    gather: Gather = "none",
    impl: Impl = "auto",
) -> Float[Tensor, ""]:
    """−Σ_ij log σ(y_ij·(scale · a_i·b_j + bias)) / P, y_ij = 1 for i = j and −1 elsewhere.

    Zhai et al., ICCV 2023, eq. 1 and algorithm 1. P counts the pairs (a_i, b_i), i < min(N, M),
    that are valid; the sum runs over all valid rows and keys. 0 where no pair is valid.

    Args:
        a: rows of length one.
        b: keys of length one.
        scale: 1 / temperature; its gradient is there when it is a tensor that asks for one.
        bias: added to the scaled similarities; likewise.
        valid: False for pairs that take no part, whatever they hold (NaN too).
        extra: more negatives for the rows of `a`; no gradient goes to them.
        extra_valid: False for extra keys that are not there.
        gather: "all" brings the keys of all processes here, "ring" passes them round; the value is
            then that of the whole batch: `distributed`. `extra` is taken as alike everywhere.
        impl: "reference" builds the [N, M + L] scores; "tiled" and "triton" hold O(N + M) numbers.

    Raises:
        ValueError: shapes that do not fit, batches of different sizes on the processes, or an
            `impl` that cannot run here.
    """
    check_rows("siglip", a, b, extra)
    check_beside("siglip", valid=(valid, a), extra_valid=(extra_valid, extra))
    if valid is not None and len(a) != len(b):
        raise ValueError(
            f"siglip: valid speaks of pairs, but there are {len(a)} rows and {len(b)} keys; leave "
            "the missing rows out, or give as many keys as rows"
        )
    ranks = share("siglip", gather, a, b)
    chosen = choose("siglip", impl, a, len(b) * ranks.size)
    dtype = working_dtype(chosen, a, b)
    with torch.autocast(a.device.type, enabled=False):
        rows = Rows(prepare(a, valid, dtype, scale), None, valid)
        keys = Keys(prepare(b, valid, dtype), None, valid, 0)
        more: list[Keys] = []
        if extra is not None:
            more = [Keys(prepare(extra.detach(), extra_valid, dtype), None, extra_valid)]
        wide = torch.promote_types(dtype, torch.float32)
        if isinstance(bias, Tensor):
            bias = bias.to(wide)
        else:  # filled in on the device, which a copy would wait for
            bias = torch.full((), bias, dtype=wide, device=a.device)
        if chosen == "reference":
            rows, keys = whole_rows(rows, ranks), whole_keys(keys, ranks)
            return reference.siglip(rows, [keys, *more], part_of(bias, ranks))
        here = keys if ranks.ring else gather_keys(keys, ranks)
        apart = softplus_sum(rows, here, bias, chosen, ranks)
        for others in more:
            apart = apart + softplus_sum(rows, others, bias, chosen)
        p = min(len(a), len(b))
        own = (rows.x[:p].to(wide) * keys.k[:p].to(wide)).sum(dim=1) + bias
        together = -F.logsigmoid(own)
        if valid is not None:
            apart, together = torch.where(valid, apart, 0.0), torch.where(valid, together, 0.0)
        counted = torch.ones_like(own, dtype=torch.bool) if valid is None else valid
        count = count_over_ranks(counted, ranks)
        total = sum_over_ranks(apart.sum() + together.sum(), ranks)
        # Without a pair there may still be rows apart from extra keys, which are no pairs either.
        return torch.where(count > 0, total / count.clamp(min=1), 0.0 * total)
