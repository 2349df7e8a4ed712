"""InfoNCE of paired rows in both directions, without the matrix of their similarities."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.kernels.dispatch import Impl, choose
from xdistill.kernels.distributed import (
    Gather,
    Ranks,
    count_over_ranks,
    gather_keys,
    logsumexp_over_ranks,
    mean_over_all,
    share,
    whole_keys,
    whole_rows,
)
from xdistill.kernels.keys import Keys, Rows, check_beside, check_rows, prepare, working_dtype
from xdistill.kernels.passes.row_column_lse import row_column_lse
from xdistill.kernels.passes.row_lse import row_lse
from xdistill.kernels.reference import passes as reference


def infonce(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    scale: float | Float[Tensor, ""],
    *,
    valid: Bool[Tensor, " n"] | None = None,
    extra: Float[Tensor, "l d"] | None = None,
    extra_valid: Bool[Tensor, " l"] | None = None,
    gather: Gather = "none",
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
        gather: "all" brings the keys of all processes here, "ring" passes them round; the value is
            then that of the whole batch: `distributed`. `extra` is taken as alike everywhere.
        impl: "reference" builds S; "tiled" and "triton" hold O(N + M) numbers.

    Raises:
        ValueError: shapes that do not fit, batches of different sizes on the processes, or an
            `impl` that cannot run here.
    """
    check_rows("infonce", a, b, extra)
    check_beside("infonce", valid=(valid, a), extra_valid=(extra_valid, extra))
    if valid is not None and len(a) != len(b):
        raise ValueError(
            f"infonce: valid speaks of pairs, but there are {len(a)} rows and {len(b)} keys; leave "
            "the missing rows out, or give as many keys as rows"
        )
    ranks = share("infonce", gather, a, b)
    chosen = choose("infonce", impl, a, len(b) * ranks.size)
    dtype = working_dtype(chosen, a, b)
    with torch.autocast(a.device.type, enabled=False):
        rows = Rows(prepare(a, valid, dtype, scale), None, valid)
        keys = Keys(prepare(b, valid, dtype), None, valid, 0)
        more = None
        if extra is not None:
            more = Keys(prepare(extra.detach(), extra_valid, dtype), None, extra_valid)
        if chosen == "reference":
            return reference.infonce(whole_rows(rows, ranks), whole_keys(keys, ranks), more)
        return _from_statistics(rows, keys, more, chosen, ranks)


def _from_statistics(
    rows: Rows, keys: Keys, more: Keys | None, impl: str, ranks: Ranks
) -> Float[Tensor, ""]:
    p = min(len(rows.x), len(keys.k))
    here = keys if ranks.ring else gather_keys(keys, ranks)
    row, column = row_column_lse(rows, here, impl, ranks)
    if more is not None:
        row = torch.logaddexp(row, row_lse(rows._replace(label=None), more, impl)[0])
    own = (rows.x[:p].to(row.dtype) * keys.k[:p].to(row.dtype)).sum(dim=1)
    counted = torch.ones_like(own, dtype=torch.bool) if rows.keep is None else rows.keep
    if ranks.size == 1 or ranks.ring:
        return mean_over_all(0.5 * (row[:p] + column[:p]) - own, counted, ranks)
    # A column belongs to one process but was seen by all, each with its own rows: each must add up
    # all columns, once, for its rows to get their part of the gradient.
    column = logsumexp_over_ranks(column, ranks)
    column = column if here.valid is None else torch.where(here.valid, column, 0.0)
    count = count_over_ranks(counted, ranks).clamp(min=1)
    return mean_over_all(0.5 * row - own, counted, ranks) + 0.5 * column.sum() / count
