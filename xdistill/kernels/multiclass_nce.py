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
    """A softmax over sets of keys that keeps the largest score apart from the others; all [N].

    Attributes:
        lse: log-sum-exp over the candidates.
        others: log-sum-exp over the candidates but the one with the largest score.
        positive: sum of the scores of the positives.
        highest: the largest score, a constant.
        top: position of the largest score in its set of keys.
        top_set: the number of that set.
    """

    lse: Float[Tensor, " n"]
    others: Float[Tensor, " n"]
    positive: Float[Tensor, " n"]
    highest: Float[Tensor, " n"]
    top: Int64[Tensor, " n"]
    top_set: Int64[Tensor, " n"]


def multiclass_nce(
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
    """Mean over rows of: mean over positives of −log p + mean over negatives of −log(1 − p).

    p_ij = softmax_j(scale · rows_i·keys_j) (Chen et al., "Distilling audio-visual knowledge by
    compositional contrastive learning", CVPR 2021). Positives and candidates are those of `supcon`;
    negatives are the keys known to be of another class, and without labels all but the own. A row
    without a negative has only the first term; a row without a positive is left out. The value is
    exact also where a probability rounds to 1, because the largest score of a row is kept apart.

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
        "multiclass_nce", rows, keys, scale, row_labels, key_labels, paired, valid, key_valid,
        extra, extra_labels, extra_valid, gather, impl,
    )  # fmt: skip
    with torch.autocast(rows.device.type, enabled=False):
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
    """The softmax over both sets of keys; if their largest scores tie, the first set's is taken."""
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
