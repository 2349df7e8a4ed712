"""The pairwise sigmoid loss, without the matrix of similarities."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.kernels import operators, reference
from xdistill.kernels.dispatch import Impl, choose
from xdistill.kernels.keys import (
    Keys,
    Rows,
    check_beside,
    check_rows,
    prepare,
    working_dtype,
)


def siglip(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    scale: float | Float[Tensor, ""],
    bias: float | Float[Tensor, ""],
    *,
    valid: Bool[Tensor, " n"] | None = None,
    extra: Float[Tensor, "l d"] | None = None,
    extra_valid: Bool[Tensor, " l"] | None = None,
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
        impl: "reference" builds the [N, M + L] scores; "tiled" and "triton" hold O(N + M) numbers.

    Raises:
        ValueError: shapes that do not fit, or an `impl` that cannot run here.
    """
    check_rows("siglip", a, b, extra)
    check_beside("siglip", valid=(valid, a), extra_valid=(extra_valid, extra))
    if valid is not None and len(a) != len(b):
        raise ValueError(
            f"siglip: valid speaks of pairs, but there are {len(a)} rows and {len(b)} keys; leave "
            "the missing rows out, or give as many keys as rows"
        )
    chosen = choose("siglip", impl, a, len(b))
    dtype = working_dtype(chosen, a, b)
    with torch.autocast(a.device.type, enabled=False):
        rows = Rows(prepare(a, valid, dtype, scale), None, valid)
        sets = [Keys(prepare(b, valid, dtype), None, valid, 0)]
        if extra is not None:
            keys = prepare(extra.detach(), extra_valid, dtype)
            sets.append(Keys(keys, None, extra_valid))
        wide = torch.promote_types(dtype, torch.float32)
        bias = torch.as_tensor(bias, dtype=wide, device=a.device)
        if chosen == "reference":
            return reference.siglip(rows, sets, bias)
        apart = sum(
            operators.softplus_sum(rows.x, keys.k, bias, keys.valid, keys.own, chosen)
            for keys in sets
        )
        assert isinstance(apart, Tensor)
        p = min(len(a), len(b))
        own = (rows.x[:p].to(wide) * sets[0].k[:p].to(wide)).sum(dim=1) + bias
        together = -F.logsigmoid(own)
        if valid is None:
            total = apart.sum() + together.sum()
            return total / p if p else 0.0 * total
        apart, together = torch.where(valid, apart, 0.0), torch.where(valid, together, 0.0)
        return (apart.sum() + together.sum()) / valid.sum().clamp(min=1)
