"""The operators over a set of keys, whether these are all here or go round in a ring."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from xdistill.kernels.distributed import ALONE, Ranks
from xdistill.kernels.keys import Keys, Rows
from xdistill.kernels.passes import affinity as affinity_operators
from xdistill.kernels.passes import operators, ring


def row_column_lse(
    rows: Rows, keys: Keys, impl: str, ranks: Ranks = ALONE
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """`operators.row_column_lse`; in a ring the columns are those of the own keys."""
    if ranks.ring:
        return ring.RowColumnLSE.apply(rows.x, keys.k, keys.valid, ranks, impl)  # pyright: ignore[reportReturnType]
    return operators.row_column_lse(rows.x, keys.k, rows.keep, keys.valid, impl)


def row_lse(
    rows: Rows, keys: Keys, impl: str, ranks: Ranks = ALONE
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """`operators.row_lse`."""
    inputs = rows.x, keys.k, rows.label, keys.label, keys.valid, keys.own
    if ranks.ring:
        return ring.RowLSE.apply(*inputs, ranks, impl)  # pyright: ignore[reportReturnType]
    return operators.row_lse(*inputs, impl)


def top_lse(
    rows: Rows, keys: Keys, impl: str, ranks: Ranks = ALONE
) -> tuple[
    Float[Tensor, " n"],
    Float[Tensor, " n"],
    Float[Tensor, " n"],
    Float[Tensor, " n"],
    Int64[Tensor, " n"],
]:
    """`operators.top_lse`; in a ring positions count through the keys of all ranks."""
    inputs = rows.x, keys.k, rows.label, keys.label, keys.valid, keys.own
    if ranks.ring:
        return ring.TopLSE.apply(*inputs, ranks, impl)  # pyright: ignore[reportReturnType]
    return operators.top_lse(*inputs, impl)


def repel(
    rows: Rows,
    keys: Keys,
    lse: Float[Tensor, " n"],
    top: Int64[Tensor, " n"],
    impl: str,
    ranks: Ranks = ALONE,
) -> Float[Tensor, " n"]:
    """The first sum of `operators.repel`, with `top` as `top_lse` gives it."""
    inputs = rows.x, keys.k, rows.label, keys.label, keys.valid, keys.own, lse, top
    if ranks.ring:
        return ring.Repel.apply(*inputs, ranks, impl)  # pyright: ignore[reportReturnType]
    return operators.repel(*inputs, impl)[0]


def softplus_sum(
    rows: Rows, keys: Keys, bias: Float[Tensor, ""], impl: str, ranks: Ranks = ALONE
) -> Float[Tensor, " n"]:
    """`operators.softplus_sum`."""
    inputs = rows.x, keys.k, bias, keys.valid, keys.own
    if ranks.ring:
        return ring.SoftplusSum.apply(*inputs, ranks, impl)  # pyright: ignore[reportReturnType]
    return operators.softplus_sum(*inputs, impl)


def affinity_stats(
    rows: Rows,
    keys: Keys,
    target_rows: Float[Tensor, "n e"],
    target_keys: Float[Tensor, "m e"],
    impl: str,
    ranks: Ranks = ALONE,
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """`affinity_operators.affinity_stats`."""
    inputs = rows.x, keys.k, target_rows, target_keys, keys.valid, keys.own
    if ranks.ring:
        return ring.AffinityStats.apply(*inputs, ranks, impl)  # pyright: ignore[reportReturnType]
    return affinity_operators.affinity_stats(*inputs, impl)
