"""Supervised contrast of rows and keys, without the matrix of their similarities."""

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
    a: Float[Tensor, "n d"],
    k: Float[Tensor, "m d"],
    scale: float | Float[Tensor, ""],
    la: Int64[Tensor, " n"] | None = None,
    lk: Int64[Tensor, " m"] | None = None,
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
    """Mean over rows of the mean over their positives of −log softmax_j(scale · a_i·k_j).

    Khosla et al., NeurIPS 2020, eq. 2 (the sum outside the logarithm). Positives are the keys of
    the row's label and, with `paired`, its own key. A row labelled -1 has its own key alone as a
    positive and all keys as candidates; a key labelled -1 is left out for the rows with a label,
    unless it is their own. Rows without a positive are left out of the mean, which is 0, with a
    gradient of 0, when none is left.

    Args:
        a: rows of length one.
        k: keys of length one.
        scale: 1 / temperature; its gradient is there when it is a tensor that asks for one.
        la: class of each row, -1 where unknown; None without labels.
        lk: class of each key.
        paired: k[i] belongs to a[i], for i < min(N, M).
        valid: False for rows that take no part, whatever they hold (NaN too).
        key_valid: the same for keys; with `paired` and N = M as `valid` unless given.
        extra: more keys, of a bank for instance; no gradient goes to them.
        extra_labels: their classes.
        extra_valid: False for extra keys that are not there.
        gather: "all" brings the keys of all processes here, "ring" passes them round; the value is
            then that of the whole batch: `distributed`. `extra` is taken as alike everywhere.
        impl: "reference" builds the [N, M + L] scores; "tiled" and "triton" hold O(N + M) numbers.

    Raises:
        ValueError: shapes that do not fit, labels on one side alone, neither labels nor pairs,
            batches of different sizes on the processes, or an `impl` that cannot run here.
    """
    contrast = read_contrast(
        "supcon", a, k, scale, la, lk, paired, valid, key_valid,
        extra, extra_labels, extra_valid, gather, impl,
    )  # fmt: skip
    with torch.autocast(a.device.type, enabled=False):
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
