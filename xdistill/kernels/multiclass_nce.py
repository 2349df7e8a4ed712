"""Noise-contrastive estimation with class labels, without the matrix of probabilities."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.kernels.dispatch import Impl
from xdistill.kernels.distributed import ALONE, Gather, Ranks, mean_over_all
from xdistill.kernels.keys import Keys, Rows, count_negatives, own_keys
from xdistill.kernels.labelled import Contrast, positives_of, read_contrast
from xdistill.kernels.passes.repel import repel
from xdistill.kernels.passes.top_lse import top_lse
from xdistill.kernels.reference import passes as reference


class Softmax(NamedTuple):
    """A softmax over sets of keys, its largest score apart from the others; all [N].

    Attributes:
        lse: log-sum-exp over the candidates.
        others: the same without the largest.
        positive: sum of the scores of the positives.
        highest: the largest score, a constant.
        top: position of the largest score in its set.
        top_set: which set that is.
    """

    lse: Float[Tensor, " n"]
    others: Float[Tensor, " n"]
    positive: Float[Tensor, " n"]
    highest: Float[Tensor, " n"]
    top: Int64[Tensor, " n"]
    top_set: Int64[Tensor, " n"]


def multiclass_nce(
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
    """Mean over rows of: mean over positives of −log p + mean over negatives of −log(1 − p).

    p_ij = softmax_j(scale · a_i·k_j) (Chen et al., "Distilling audio-visual knowledge by
    compositional contrastive learning", CVPR 2021). Positives and candidates are those of `supcon`;
    negatives are the keys known to be of another class, and without labels all but the own. A row
    without a negative has the first part alone; a row without a positive is left out. Exact where
    a probability rounds to 1: the largest score of each row is kept apart.

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
        "multiclass_nce", a, k, scale, la, lk, paired, valid, key_valid,
        extra, extra_labels, extra_valid, gather, impl,
    )  # fmt: skip
    with torch.autocast(a.device.type, enabled=False):
        if contrast.impl == "reference":
            return reference.multiclass_nce(contrast.rows, contrast.sets)
        return _from_statistics(contrast)


def _from_statistics(contrast: Contrast) -> Float[Tensor, ""]:
    rows, sets, labels, ranks, impl = contrast
    shared = [ranks, *[ALONE] * (len(sets) - 1)]
    softmax = _softmax(rows, sets[0], 0, impl, ranks)
    for place, keys in enumerate(sets[1:], start=1):
        softmax = _merge(softmax, _softmax(rows, keys, place, impl, ALONE))
    count, counted = positives_of(contrast)
    attract = softmax.lse - softmax.positive / count
    repelled, negatives = torch.zeros_like(attract), torch.zeros_like(count)
    for place, (keys, beside) in enumerate(zip(sets, labels, strict=True)):
        here = softmax.top_set == place
        top = torch.where(here, softmax.top, -1)
        small = repel(rows, keys, softmax.lse, top, impl, shared[place])
        largest = torch.where(
            here & _is_negative(rows, beside, softmax.top), softmax.lse - softmax.others, 0.0
        )
        repelled = repelled + small + largest
        negatives = negatives + count_negatives(rows, beside)
    return mean_over_all(attract + repelled / negatives.clamp(min=1), counted, ranks)


def _softmax(rows: Rows, keys: Keys, place: int, impl: str, ranks: Ranks) -> Softmax:
    lse, others, positive, highest, top = top_lse(rows, keys, impl, ranks)
    return Softmax(lse, others, positive, highest.detach(), top, torch.full_like(top, place))


def _merge(one: Softmax, two: Softmax) -> Softmax:
    """The softmax over both sets of keys; of equal scores the first set's is the largest."""
    first = one.highest >= two.highest
    return Softmax(
        torch.logaddexp(one.lse, two.lse),
        torch.where(
            first, torch.logaddexp(one.others, two.lse), torch.logaddexp(one.lse, two.others)
        ),
        one.positive + two.positive,
        torch.maximum(one.highest, two.highest),
        torch.where(first, one.top, two.top),
        torch.where(first, one.top_set, two.top_set),
    )


def _is_negative(rows: Rows, keys: Keys, place: Int64[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Whether the key at each row's `place` is one of its negatives."""
    if not len(keys.k):
        return torch.zeros_like(place, dtype=torch.bool)
    own, at = own_keys(rows, keys)
    place = place.clamp(max=len(keys.k) - 1)
    negative = ~(own & (at == place))
    if keys.valid is not None:
        negative = negative & keys.valid[place]
    if rows.label is None or keys.label is None:
        return negative
    label = keys.label[place]
    return negative & (rows.label >= 0) & (label >= 0) & (label != rows.label)
