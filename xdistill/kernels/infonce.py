"""InfoNCE of paired rows in both directions, without the matrix of their similarities."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.kernels import operators, reference
from xdistill.kernels.dispatch import Impl, choose
from xdistill.kernels.keys import (
    Keys,
    Rows,
    check_beside,
    check_rows,
    mean_over_rows,
    prepare,
    working_dtype,
)


def infonce(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    scale: float | Float[Tensor, ""],
    *,
    valid: Bool[Tensor, " n"] | None = None,
    extra: Float[Tensor, "l d"] | None = None,
    extra_valid: Bool[Tensor, " l"] | None = None,
    impl: Impl = "auto",
) -> Float[Tensor, ""]:
    """½(CE(S) + CE(Sᵀ)), S_ij = scale · a_i·b_j, each row's own pair being the right class.

    van den Oord et al., 2018, eq. 4; both directions as in Radford et al., CLIP, 2021, figure 3.
    The mean is over the pairs (a_i, b_i), i < min(N, M); rows without a partner are candidates for
    the other side alone. 0, with a gradient of 0, where no pair is valid.

    Args:
        a: rows of length one.
        b: keys of length one.
        scale: 1 / temperature; its gradient is there when it is a tensor that asks for one.
        valid: False for pairs that take no part, whatever they hold (NaN too).
        extra: more keys for the rows of `a`, of a bank for instance; no gradient goes to them.
        extra_valid: False for extra keys that are not there.
        impl: "reference" builds S; "tiled" and "triton" hold O(N + M) numbers.

    Raises:
        ValueError: shapes that do not fit, or an `impl` that cannot run here.
    """
    check_rows("infonce", a, b, extra)
    check_beside("infonce", valid=(valid, a), extra_valid=(extra_valid, extra))
    if valid is not None and len(a) != len(b):
        raise ValueError(
            f"infonce: valid speaks of pairs, but there are {len(a)} rows and {len(b)} keys; leave "
            "the missing rows out, or give as many keys as rows"
        )
    chosen = choose("infonce", impl, a, len(b))
    dtype = working_dtype(chosen, a, b)
    with torch.autocast(a.device.type, enabled=False):
        rows = Rows(prepare(a, valid, dtype, scale), None, valid)
        keys = Keys(prepare(b, valid, dtype), None, valid, 0)
        more = None
        if extra is not None:
            more = Keys(prepare(extra.detach(), extra_valid, dtype), None, extra_valid)
        if chosen == "reference":
            return reference.infonce(rows, keys, more)
        row, column = operators.row_column_lse(rows.x, keys.k, valid, valid, chosen)
        if more is not None:
            beside, _ = operators.row_lse(rows.x, more.k, None, None, more.valid, None, chosen)
            row = torch.logaddexp(row, beside)
        p = min(len(a), len(b))
        own = (rows.x[:p].to(row.dtype) * keys.k[:p].to(row.dtype)).sum(dim=1)
        counted = torch.ones_like(own, dtype=torch.bool) if valid is None else valid
        return mean_over_rows(0.5 * (row[:p] + column[:p]) - own, counted)
