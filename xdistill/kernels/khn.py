"""K hard negatives: mining and loss over a batch of pairs and a memory bank.

Han et al., "Seeing your sleep stage", 2022 (arXiv 2208.05814): an anchor is pulled to the paired
key and pushed from the K hardest keys of other classes, in the batch and in the bank.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.kernels.dispatch import Impl, choose
from xdistill.kernels.distributed import (
    Gather,
    gather_keys,
    share,
    sum_over_ranks,
)
from xdistill.kernels.keys import Keys, prepare, working_dtype
from xdistill.kernels.mined.mining import Mining
from xdistill.kernels.mined.operator import khn_fused
from xdistill.kernels.mined.reference import Options, dense
from xdistill.kernels.mined.relations import Positives, Side, relate
from xdistill.numerics import gather_processes

Form = Literal["triplet", "nce"]


def khn(
    a: Float[Tensor, "b d"],
    p: Float[Tensor, "b d"],
    la: Int64[Tensor, " b"] | None,
    *,
    bank: Float[Tensor, "q d"] | None = None,
    bank_labels: Int64[Tensor, " q"] | None = None,
    margin: float = 0.5,
    k: int = 5,
    mining: Mining = "semihard",
    form: Form = "triplet",
    positives: Positives = "class",
    tau: float = 0.1,
    valid: Bool[Tensor, " b"] | None = None,
    index: Int64[Tensor, " b"] | None = None,
    bank_index: Int64[Tensor, " q"] | None = None,
    bank_valid: Bool[Tensor, " q"] | None = None,
    seed: int | Int64[Tensor, ""] = 0,
    gather: Gather = "none",
    impl: Impl = "auto",
) -> Float[Tensor, ""]:
    """The loss of B anchors against K mined negatives each.

    Positives of anchor i are its own key p_i and, with `positives="class"`, the keys of the batch
    with its label. Its negatives are the keys of batch and bank with another label. A key that is
    labelled -1 could be of any class: for a labelled anchor it is neither. An anchor labelled -1
    (or all of them, when `la` is None) has its own key as the only positive and every other sample
    as a negative. Keys of the anchor's own sample, told by `index`, are never negatives.

    `form="triplet"`: the mean over the chosen (i, p, n) of relu(d_ip − d_in + margin), d the
    squared distance. The K negatives n are, for `mining`,
    - "semihard": per (i, p) the nearest with 0 < d_ip − d_in + margin < margin;
    - "hard": per anchor the nearest;
    - "random": per anchor drawn without replacement;
    - "all": every one, whatever K, whether or not it violates the margin.

    `form="nce"`: the mean over anchors of −log(Σ_p e^(s_ip/tau) / (Σ_p e^(s_ip/tau) +
    Σ_n e^(s_in/tau))), s the inner product. The negatives are chosen per anchor, so "semihard",
    which is relative to one positive, means the nearest here, as "hard" does.

    With nothing chosen the value is exactly 0 and so is the gradient. The choice itself is taken as
    constant.

    Args:
        a: anchors, rows of length one.
        p: the paired keys, rows of length one; p[i] belongs to a[i].
        la: class of each pair, -1 where unlabelled; None without labels.
        bank: more keys, rows of length one.
        bank_labels: their classes; may be None when `la` is.
        valid: False for pairs that are neither anchors nor keys, whatever they hold (NaN too).
        index: sample of each pair, -1 where unknown.
        bank_index: sample of each bank key, -1 where unknown.
        bank_valid: False for empty slots of the bank.
        seed: of mining="random"; a tensor is not read on the host.
        gather: "all" brings the keys of all processes here; the value is then that of the whole
            batch: `distributed`. The bank is taken as alike everywhere.
        impl: "reference" builds the [B, M] distances, M = B + Q; "tiled" holds those of a few
            anchors at a time, and takes value and gradients in one pass; "triton" does so without
            a sort, for the two minings by distance. No gradient goes to the bank.

    Raises:
        ValueError: an option or a shape that does not fit.
    """
    _check(a, p, la, bank, bank_labels, k, margin, tau, mining, form, positives)
    if gather == "ring":
        raise ValueError(
            'khn: gather="ring" shows a part of the keys at a time, but the negatives of each pair '
            'are ranked among all of them; take gather="all"'
        )
    ranks = share("khn", gather, a, p)
    chosen = choose("khn", impl, a, len(p) * ranks.size + (0 if bank is None else len(bank)))
    if chosen == "triton" and mining in ("random", "all"):
        if impl == "triton":
            raise ValueError(
                f'khn: impl="triton" finds the nearest negatives, got mining={mining!r}, which '
                'ranks none; take impl="tiled", which runs on a GPU too'
            )
        chosen = "tiled"
    dtype = working_dtype("tiled", a, p)  # distances of half precision would tie
    with torch.autocast(a.device.type, enabled=False):
        keep = torch.ones(len(a), dtype=torch.bool, device=a.device) if valid is None else valid
        side = Side(_or_unknown(la, a), _or_unknown(index, a), keep)
        of_bank = None
        if bank is not None:
            bank_keep = torch.ones(len(bank), dtype=torch.bool, device=a.device)
            bank_keep = bank_keep if bank_valid is None else bank_valid
            of_bank = Side(_or_unknown(bank_labels, bank), _or_unknown(bank_index, bank), bank_keep)
            bank = prepare(bank.detach(), bank_valid, dtype)
        own = ranks.rank * len(a)
        a, p = prepare(a, valid, dtype), prepare(p, valid, dtype)
        beside = side
        if ranks.size > 1:
            p = gather_keys(Keys(p), ranks).k
            beside = Side(*(gather_processes(x) for x in side))
        if not isinstance(seed, Tensor):  # filled in on the device, which a copy would wait for
            seed = torch.full((), seed, dtype=torch.int64, device=a.device)
        if chosen == "reference":
            everything = p if bank is None else torch.cat([p, bank])
            relations = relate(side, beside, of_bank, positives, own)
            options = Options(margin, k, mining, form, tau, seed)
            total, count = dense(a, everything, relations, options, own)
        else:
            wanted = torch.is_grad_enabled() and (a.requires_grad or p.requires_grad)
            total, count, _, _ = khn_fused(
                a, p, bank, *side, *beside, *(of_bank or (None, None, None)), seed,
                margin, k, tau, mining, form, positives, own, wanted, chosen,
            )  # fmt: skip
        return sum_over_ranks(total, ranks) / sum_over_ranks(count, ranks).clamp(min=1)


def _or_unknown(numbers: Int64[Tensor, " n"] | None, like: Tensor) -> Int64[Tensor, " n"]:
    if numbers is not None:
        return numbers
    return torch.full((len(like),), -1, dtype=torch.int64, device=like.device)


def _check(a, p, la, bank, bank_labels, k, margin, tau, mining, form, positives) -> None:
    for name, value, options in (
        ("mining", mining, get_args(Mining)),
        ("form", form, get_args(Form)),
        ("positives", positives, get_args(Positives)),
    ):
        if value not in options:
            raise ValueError(f"unknown {name} {value!r} of khn; choose one of {options}")
    if k < 1 or margin <= 0 or tau <= 0:
        raise ValueError(
            f"khn needs k of at least 1 and a positive margin and tau, got {k}, {margin}, {tau}"
        )
    if a.ndim != 2 or a.shape != p.shape:
        raise ValueError(
            f"anchors and keys must be two [B, D] tensors of one shape, got {list(a.shape)} and "
            f"{list(p.shape)}; row i of the keys belongs to anchor i"
        )
    if bank is not None and (bank.ndim != 2 or bank.shape[1] != a.shape[1]):
        raise ValueError(
            f"the bank must hold keys [Q, {a.shape[1]}], got {list(bank.shape)}; project it first"
        )
    if bank is not None and la is not None and bank_labels is None:
        raise ValueError(
            "labelled anchors need bank_labels: without them no bank key is a negative"
        )
