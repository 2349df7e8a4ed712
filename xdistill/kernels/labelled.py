"""The arguments of the kernels with labels, checked and turned into rows and sets of keys."""

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
    """Rows and the sets of keys that they are compared with.

    Attributes:
        rows: of this process; of all processes for impl="reference".
        sets: the keys of the batch (of all processes, unless they travel in a ring), then the
            extra keys.
        labels: labels and masks of the same sets, of all processes even in a ring; their keys are
            empty.
        ranks: the processes over whose rows the mean is taken.
        impl: the implementation that runs.
    """

    rows: Rows
    sets: list[Keys]
    labels: list[Keys]
    ranks: Ranks
    impl: str


def read_contrast(
    op: str,
    rows: Float[Tensor, "n d"],
    keys: Float[Tensor, "m d"],
    scale: float | Float[Tensor, ""],
    row_labels: Int64[Tensor, " n"] | None,
    key_labels: Int64[Tensor, " m"] | None,
    paired: bool,
    valid: Bool[Tensor, " n"] | None,
    key_valid: Bool[Tensor, " m"] | None,
    extra: Float[Tensor, "l d"] | None,
    extra_labels: Int64[Tensor, " l"] | None,
    extra_valid: Bool[Tensor, " l"] | None,
    gather: str,
    impl: str,
) -> Contrast:
    """Check and prepare the arguments of `supcon` and `multiclass_nce`.

    Raises:
        ValueError: shapes that do not fit, labels on one side alone, batches of different sizes on
            the processes, or an `impl` that cannot run.
    """
    check_rows(op, rows, keys, extra)
    if paired and key_valid is None and valid is not None and len(rows) == len(keys):
        key_valid = valid
    check_beside(
        op,
        row_labels=(row_labels, rows),
        key_labels=(key_labels, keys),
        valid=(valid, rows),
        key_valid=(key_valid, keys),
        extra_labels=(extra_labels, extra),
        extra_valid=(extra_valid, extra),
    )
    check_labels(op, row_labels, key_labels, "key_labels")
    if extra is not None:
        check_labels(op, row_labels, extra_labels, "extra_labels")
    if row_labels is None and not paired:
        raise ValueError(
            f"{op}: without labels and without pairs no key is a positive; give row_labels and "
            "key_labels, or paired=True when keys[i] belongs to rows[i]"
        )
    ranks = share(op, gather, rows, keys)
    impl = choose(op, impl, rows, len(keys) * ranks.size)
    dtype = working_dtype(impl, rows, keys)
    anchors = Rows(prepare(rows, valid, dtype, scale), row_labels, valid)
    own = 0 if paired else None
    batch = Keys(prepare(keys, key_valid, dtype), key_labels, key_valid, own)
    more: list[Keys] = []
    if extra is not None:
        kept = prepare(extra.detach(), extra_valid, dtype)
        more = [Keys(kept, extra_labels, extra_valid)]
    if impl == "reference":
        anchors, sets = whole_rows(anchors, ranks), [whole_keys(batch, ranks), *more]
        return Contrast(anchors, sets, sets, ranks, impl)
    labels = [gather_labels(batch, ranks), *more]
    sets = [batch if ranks.ring else gather_keys(batch, ranks), *more]
    return Contrast(anchors, sets, labels, ranks, impl)


def positives_of(contrast: Contrast) -> tuple[Int64[Tensor, " n"], Bool[Tensor, " n"]]:
    """The number of positives of each row (1 where there is none), and the rows that count."""
    rows = contrast.rows
    count = torch.zeros(len(rows.x), dtype=torch.int64, device=rows.x.device)
    for keys in contrast.labels:
        count = count + count_positives(rows, keys)
    counted = count > 0 if rows.keep is None else (count > 0) & rows.keep
    return count.clamp(min=1), counted
