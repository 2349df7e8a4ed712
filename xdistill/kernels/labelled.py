"""What the kernels with labels share: reading their arguments into rows and sets of keys."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.kernels.dispatch import choose
from xdistill.kernels.distributed import (
    Ranks,
    gather_keys,
    gather_labels,
    share,
    whole_keys,
    whole_rows,
)
from xdistill.kernels.keys import (
    Keys,
    Rows,
    check_beside,
    check_labels,
    check_rows,
    count_positives,
    prepare,
    working_dtype,
)


class Contrast(NamedTuple):
    """Rows and the sets of keys they meet.

    Attributes:
        rows: of this process, or of all for impl="reference".
        sets: the batch's keys, of all processes unless they go round, and the extra ones.
        labels: the same sets of all processes without their numbers.
        ranks: the processes whose rows are averaged.
        impl: what compares rows and keys.
    """

    rows: Rows
    sets: list[Keys]
    labels: list[Keys]
    ranks: Ranks
    impl: str


def read_contrast(
    op: str,
    a: Float[Tensor, "n d"],
    k: Float[Tensor, "m d"],
    scale: float | Float[Tensor, ""],
    la: Int64[Tensor, " n"] | None,
    lk: Int64[Tensor, " m"] | None,
    paired: bool,
    valid: Bool[Tensor, " n"] | None,
    key_valid: Bool[Tensor, " m"] | None,
    extra: Float[Tensor, "l d"] | None,
    extra_labels: Int64[Tensor, " l"] | None,
    extra_valid: Bool[Tensor, " l"] | None,
    gather: str,
    impl: str,
) -> Contrast:
    """Check the arguments of `supcon` and `multiclass_nce` and make them ready.

    Raises:
        ValueError: shapes that do not fit, labels on one side alone, batches of different sizes on
            the processes, or an `impl` that cannot run.
    """
    check_rows(op, a, k, extra)
    if paired and key_valid is None and valid is not None and len(a) == len(k):
        key_valid = valid
    check_beside(
        op,
        la=(la, a),
        lk=(lk, k),
        valid=(valid, a),
        key_valid=(key_valid, k),
        extra_labels=(extra_labels, extra),
        extra_valid=(extra_valid, extra),
    )
    check_labels(op, la, lk)
    if extra is not None:
        check_labels(op, la, extra_labels, "extra_labels")
    if la is None and not paired:
        raise ValueError(
            f"{op}: without labels and without pairs no key is a positive; give la and lk, or "
            "paired=True when k[i] belongs to a[i]"
        )
    ranks = share(op, gather, a, k)
    impl = choose(op, impl, a, len(k) * ranks.size)
    dtype = working_dtype(impl, a, k)
    rows = Rows(prepare(a, valid, dtype, scale), la, valid)
    keys = Keys(prepare(k, key_valid, dtype), lk, key_valid, 0 if paired else None)
    more: list[Keys] = []
    if extra is not None:
        kept = prepare(extra.detach(), extra_valid, dtype)
        more = [Keys(kept, extra_labels, extra_valid)]
    if impl == "reference":
        rows, sets = whole_rows(rows, ranks), [whole_keys(keys, ranks), *more]
        return Contrast(rows, sets, sets, ranks, impl)
    labels = [gather_labels(keys, ranks), *more]
    sets = [keys if ranks.ring else gather_keys(keys, ranks), *more]
    return Contrast(rows, sets, labels, ranks, impl)


def positives_of(contrast: Contrast) -> tuple[Int64[Tensor, " n"], Bool[Tensor, " n"]]:
    """Number of positives of each row (1 where there is none), and which rows count."""
    rows = contrast.rows
    count = torch.zeros(len(rows.x), dtype=torch.int64, device=rows.x.device)
    for keys in contrast.labels:
        count = count + count_positives(rows, keys)
    counted = count > 0 if rows.keep is None else (count > 0) & rows.keep
    return count.clamp(min=1), counted
