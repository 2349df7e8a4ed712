"""K hard negatives: mining and loss over a batch of pairs and a memory bank.

Han et al., "Seeing your sleep stage", 2022 (arXiv 2208.05814): an anchor is pulled towards its
paired key and pushed away from the K hardest keys of other classes, in the batch and in the bank.
"""

from __future__ import annotations

from typing import get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.kernels.dispatch import Impl, choose
from xdistill.kernels.distributed import Gather, gather_keys, share, sum_over_ranks
from xdistill.kernels.keys import Keys, check_beside, prepare, working_dtype
from xdistill.kernels.mined import reference
from xdistill.kernels.mined.mining import Mining
from xdistill.kernels.mined.operator import khn_fused
from xdistill.kernels.mined.options import Form, Options
from xdistill.kernels.mined.relations import Positives, Side, relate
from xdistill.numerics import gather_processes


def khn(
    rows: Float[Tensor, "b d"],
    keys: Float[Tensor, "b d"],
    labels: Int64[Tensor, " b"] | None,
    *,
    bank: Float[Tensor, "q d"] | None = None,
    bank_labels: Int64[Tensor, " q"] | None = None,
    margin: float = 0.5,
    num_negatives: int = 5,
    mining: Mining = "semihard",
    form: Form = "triplet",
    positives: Positives = "class",
    temperature: float = 0.1,
    valid: Bool[Tensor, " b"] | None = None,
    index: Int64[Tensor, " b"] | None = None,
    bank_index: Int64[Tensor, " q"] | None = None,
    bank_valid: Bool[Tensor, " q"] | None = None,
    seed: int | Int64[Tensor, ""] = 0,
    gather: Gather = "none",
    impl: Impl = "auto",
) -> Float[Tensor, ""]:
    """The loss of B anchors against K = `num_negatives` mined negatives each.

    The positives of anchor i are its own key keys_i and, with `positives="class"`, the keys of the
    batch with its label. Its negatives are the keys of batch and bank with another label. A key
    labelled -1 could be of any class: for a labelled anchor it is neither. An anchor labelled -1
    (every anchor, when `labels` is None) has its own key as the only positive and all other samples
    as negatives. Keys of the anchor's own sample, as `index` tells, are never negatives.

    `form="triplet"`: the mean over the chosen (i, p, n) of relu(d_ip − d_in + margin), d the
    squared distance. The K negatives n are, for `mining`,
    - "semihard": per (i, p) the nearest with 0 < d_ip − d_in + margin < margin;
    - "hard": per anchor the nearest;
    - "random": per anchor drawn without replacement;
    - "all": every one, whatever K, whether or not it violates the margin.

    `form="nce"`: the mean over anchors of −log(Σ_p e^(s_ip/T) / (Σ_p e^(s_ip/T) +
    Σ_n e^(s_in/T))), s the inner product and T the temperature. The negatives are chosen per
    anchor. "semihard" is relative to one positive, so here it means the nearest, as "hard" does.

    When nothing is chosen the value is exactly 0, and so is the gradient. The choice itself is
    taken as constant.

    Args:
        rows: the anchors, unit rows.
        keys: the paired keys, unit rows; keys[i] belongs to rows[i].
        labels: class of each pair, -1 where unknown; None without labels.
        bank: more keys, unit rows; they get no gradient.
        bank_labels: class of each bank key; may be None when `labels` is.
        num_negatives: K.
        temperature: T of form="nce". A temperature, since it is a fixed hyperparameter of one form
            and, unlike the `scale` of the other kernels, is not applied to the rows beforehand.
        valid: False for pairs that are neither anchors nor keys; they may hold anything, NaN
            included.
        index: sample of each pair, -1 where unknown.
        bank_index: sample of each bank key, -1 where unknown.
        bank_valid: False for empty slots of the bank.
        seed: of mining="random"; a tensor is not read on the host.
        gather: "all" collects the keys of all processes here; the value is then that of the whole
            batch (`distributed`). The bank must be the same on every process. There is no "ring".
        impl: "reference" builds the [B, M] distances, M = B + Q; "tiled" holds those of a few
            anchors at a time and computes value and gradients in one pass; "triton" does the same
            without a sort, for the two minings by distance.

    Raises:
        ValueError: an option or a shape that does not fit.
    """
    _check_options(num_negatives, margin, temperature, mining, form, positives, gather)
    _check_rows(rows, keys, labels, bank, bank_labels)
    check_beside(
        "khn",
        labels=(labels, rows),
        valid=(valid, rows),
        index=(index, rows),
        bank_labels=(bank_labels, bank),
        bank_index=(bank_index, bank),
        bank_valid=(bank_valid, bank),
    )
    ranks = share("khn", gather, rows, keys)
    num_keys = len(keys) * ranks.size + (0 if bank is None else len(bank))
    chosen = _choose(impl, rows, num_keys, mining)
    dtype = working_dtype("tiled", rows, keys)  # distances of half precision would tie
    with torch.autocast(rows.device.type, enabled=False):
        row_side = _side(labels, index, valid, rows)
        bank_side = None
        if bank is not None:
            bank_side = _side(bank_labels, bank_index, bank_valid, bank)
            bank = prepare(bank.detach(), bank_valid, dtype)
        own = ranks.rank * len(rows)
        rows, keys = prepare(rows, valid, dtype), prepare(keys, valid, dtype)
        key_side = row_side
        if ranks.size > 1:
            keys = gather_keys(Keys(keys), ranks).k
            key_side = Side(*(gather_processes(x) for x in row_side))
        if not isinstance(seed, Tensor):  # created on the device: a copy from the host would wait
            seed = torch.full((), seed, dtype=torch.int64, device=rows.device)
        if chosen == "reference":
            all_keys = keys if bank is None else torch.cat([keys, bank])
            relations = relate(row_side, key_side, bank_side, positives, own)
            options = Options(margin, num_negatives, mining, form, temperature, seed)
            total, count = reference.khn(rows, all_keys, relations, options, own)
        else:
            need_gradients = torch.is_grad_enabled() and (rows.requires_grad or keys.requires_grad)
            total, count, _, _ = khn_fused(
                rows, keys, bank, *row_side, *key_side, *(bank_side or (None, None, None)), seed,
                margin, num_negatives, temperature, mining, form, positives, own,
                need_gradients, chosen,
            )  # fmt: skip
        return sum_over_ranks(total, ranks) / sum_over_ranks(count, ranks).clamp(min=1)


def _choose(impl: str, rows: Tensor, num_keys: int, mining: str) -> str:
    """As for every kernel, but Triton only ranks by distance."""
    chosen = choose("khn", impl, rows, num_keys)
    if chosen != "triton" or mining in ("semihard", "hard"):
        return chosen
    if impl == "triton":
        raise ValueError(
            f'khn: impl="triton" mines by distance only, got mining={mining!r}; take impl="tiled", '
            "which runs on a GPU too"
        )
    return "tiled"


def _side(
    labels: Int64[Tensor, " n"] | None,
    index: Int64[Tensor, " n"] | None,
    valid: Bool[Tensor, " n"] | None,
    rows: Float[Tensor, "n d"],
) -> Side:
    """Label, sample and validity of each row, -1 and True where they were not given."""
    unknown = torch.full((len(rows),), -1, dtype=torch.int64, device=rows.device)
    keep = torch.ones_like(unknown, dtype=torch.bool) if valid is None else valid
    return Side(unknown if labels is None else labels, unknown if index is None else index, keep)


def _check_options(num_negatives, margin, temperature, mining, form, positives, gather) -> None:
    for name, value, options in (
        ("mining", mining, get_args(Mining)),
        ("form", form, get_args(Form)),
        ("positives", positives, get_args(Positives)),
    ):
        if value not in options:
            raise ValueError(f"khn: unknown {name} {value!r}; choose one of {options}")
    if not (num_negatives >= 1 and margin > 0 and temperature > 0):  # NaN is refused, too
        raise ValueError(
            "khn: num_negatives must be at least 1, margin and temperature above 0, got "
            f"num_negatives={num_negatives}, margin={margin}, temperature={temperature}"
        )
    if gather == "ring":
        raise ValueError(
            'khn: gather="ring" shows a part of the keys at a time, but the negatives of each pair '
            'are ranked among all of them; take gather="all"'
        )


def _check_rows(rows, keys, labels, bank, bank_labels) -> None:
    if rows.ndim != 2 or rows.shape != keys.shape:
        raise ValueError(
            f"khn: rows and keys must be two [B, D] tensors of one shape, got {list(rows.shape)} "
            f"and {list(keys.shape)}; keys[i] belongs to rows[i]"
        )
    if bank is not None and (bank.ndim != 2 or bank.shape[1] != rows.shape[1]):
        raise ValueError(
            f"khn: bank must hold keys [Q, {rows.shape[1]}], got {list(bank.shape)}; project them "
            "into the space of the rows first"
        )
    if bank is not None and labels is not None and bank_labels is None:
        raise ValueError(
            "khn: labels were given without bank_labels, so no bank key would be a negative of a "
            "labelled row; give bank_labels, -1 where unknown"
        )
