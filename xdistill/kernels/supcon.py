"""Supervised contrast of rows and keys, without the matrix of similarities."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.kernels.dispatch import Impl
from xdistill.kernels.distributed import Gather, mean_over_all
from xdistill.kernels.labelled import Contrast, positives_of, read_contrast
from xdistill.kernels.passes.row_lse import row_lse
from xdistill.kernels.reference import passes as reference


def supcon(
    rows: Float[Tensor, "n d"],
    keys: Float[Tensor, "m d"],
    scale: float | Float[Tensor, ""],
    row_labels: Int64[Tensor, " n"] | None = None,
    key_labels: Int64[Tensor, " m"] | None = None,
    *,
    paired: bool = False,
    valid: Bool[Tensor, " n"] | None = None,
    key_valid: Bool[Tensor, " m"] | None = None,
    extra: Float[Tensor, "l d"] | None = None,
    extra_labels: Int64[Tensor, " l"] | None = None,
    extra_valid: Bool[Tensor, " l"] | None = None,
    gather: Gather = "none",
    impl: Impl = "auto",
) -> Float[Tensor, ""]:
    """Mean over rows of the mean over their positives of −log softmax_j(scale · rows_i·keys_j).

    Khosla et al., NeurIPS 2020, eq. 2 (the sum outside the logarithm). Positives are the keys of
    the row's label and, with `paired`, its own key. A row labelled -1 has its own key as its only
    positive and all keys as candidates; a key labelled -1 is no candidate of a labelled row, unless
    it is the row's own. Rows without a positive are left out of the mean, which is 0, with a
    gradient of 0, when no row is left.

    Args:
        rows: unit rows.
        keys: unit rows.
        scale: multiplier of the similarities, 1 / temperature. A multiplier as in `infonce`, so
            that it can be learned as CLIP's is: a tensor that requires a gradient gets one.
        row_labels: class of each row, -1 where unknown; None without labels.
        key_labels: class of each key, likewise.
        paired: keys[i] belongs to rows[i], for i < min(N, M).
        valid: False for rows that take no part; they may hold anything, NaN included.
        key_valid: the same for keys. By default it is `valid` when `paired` and N = M.
        extra: more keys, from a memory bank for instance; they get no gradient.
        extra_labels: class of each extra key.
        extra_valid: False for extra keys to ignore, such as empty slots of a bank.
        gather: "all" collects the keys of all processes here, "ring" passes them on from process to
            process; either way the value is that of the whole batch (`distributed`). `extra` must
            be the same on every process.
        impl: "reference" builds the [N, M + L] scores; "tiled" and "triton" hold O(N + M) numbers.

    Raises:
        ValueError: shapes that do not fit, labels on one side alone, neither labels nor pairs,
            batches of different sizes on the processes, or an `impl` that cannot run here.
    """
    contrast = read_contrast(
        "supcon", rows, keys, scale, row_labels, key_labels, paired, valid, key_valid,
        extra, extra_labels, extra_valid, gather, impl,
    )  # fmt: skip
    with torch.autocast(rows.device.type, enabled=False):
        if contrast.impl == "reference":
            return reference.supcon(contrast.rows, contrast.sets)
        return _from_statistics(contrast)


def _from_statistics(contrast: Contrast) -> Float[Tensor, ""]:
    rows, (keys, *more), _, ranks, impl = contrast
    lse, positive = row_lse(rows, keys, impl, ranks)
    for others in more:
        more_lse, more_positive = row_lse(rows, others, impl)
        lse, positive = torch.logaddexp(lse, more_lse), positive + more_positive
    count, counted = positives_of(contrast)
    return mean_over_all(lse - positive / count, counted, ranks)
