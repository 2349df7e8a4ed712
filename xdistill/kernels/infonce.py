"""InfoNCE of paired rows in both directions, without the matrix of similarities."""

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
    rows: Float[Tensor, "n d"],
    keys: Float[Tensor, "m d"],
    scale: float | Float[Tensor, ""],
    *,
    valid: Bool[Tensor, " n"] | None = None,
    extra: Float[Tensor, "l d"] | None = None,
    extra_valid: Bool[Tensor, " l"] | None = None,
    gather: Gather = "none",
    impl: Impl = "auto",
) -> Float[Tensor, ""]:
    """½(CE(S) + CE(Sᵀ)), S_ij = scale · rows_i·keys_j, where the class of row i is key i.

    van den Oord et al., 2018, eq. 4; both directions as in Radford et al., CLIP, 2021, figure 3.
    The mean is over the pairs (rows_i, keys_i), i < min(N, M); a row or key without a pair is only
    a candidate for the other side. The value is 0, with a gradient of 0, when no pair is valid.

    Args:
        rows: unit rows.
        keys: unit rows; keys[i] belongs to rows[i].
        scale: multiplier of the similarities, 1 / temperature. A multiplier because CLIP learns
            it as one: a tensor that requires a gradient gets one.
        valid: False for pairs that take no part; they may hold anything, NaN included.
        extra: more keys for `rows`, from a memory bank for instance; they get no gradient.
        extra_valid: False for extra keys to ignore, such as empty slots of a bank.
        gather: "all" collects the keys of all processes here, "ring" passes them on from process to
            process; either way the value is that of the whole batch (`distributed`). `extra` must
            be the same on every process.
        impl: "reference" builds S; "tiled" and "triton" hold O(N + M) numbers.

    Raises:
        ValueError: shapes that do not fit, batches of different sizes on the processes, or an
            `impl` that cannot run here.
    """
    check_rows("infonce", rows, keys, extra)
    check_beside("infonce", valid=(valid, rows), extra_valid=(extra_valid, extra))
    if valid is not None and len(rows) != len(keys):
        raise ValueError(
            f"infonce: valid is a mask of pairs and needs as many keys as rows, got {len(rows)} "
            f"rows and {len(keys)} keys; drop the rows without a pair, or give valid=None"
        )
    ranks = share("infonce", gather, rows, keys)
    chosen = choose("infonce", impl, rows, len(keys) * ranks.size)
    dtype = working_dtype(chosen, rows, keys)
    with torch.autocast(rows.device.type, enabled=False):
        anchors = Rows(prepare(rows, valid, dtype, scale), None, valid)
        batch = Keys(prepare(keys, valid, dtype), None, valid, 0)
        more = None
        if extra is not None:
            more = Keys(prepare(extra.detach(), extra_valid, dtype), None, extra_valid)
        if chosen == "reference":
            return reference.infonce(whole_rows(anchors, ranks), whole_keys(batch, ranks), more)
        return _from_statistics(anchors, batch, more, chosen, ranks)


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
    # A column belongs to one process, but every process has met it with rows of its own. Each must
    # add up all columns, once, so that its rows get their part of the gradient.
    column = logsumexp_over_ranks(column, ranks)
    column = column if here.valid is None else torch.where(here.valid, column, 0.0)
    count = count_over_ranks(counted, ranks).clamp(min=1)
    return mean_over_all(0.5 * row - own, counted, ranks) + 0.5 * column.sum() / count
