"""How rows lie to one another, taught from teacher to student, without a matrix of similarities."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.kernels.dispatch import Impl, choose
from xdistill.kernels.distributed import (
    Gather,
    gather_keys,
    gather_whole,
    mean_over_all,
    share,
    whole_keys,
    whole_rows,
)
from xdistill.kernels.keys import (
    Keys,
    Rows,
    check_beside,
    check_rows,
    prepare,
    working_dtype,
)
from xdistill.kernels.passes.affinity_stats import affinity_stats
from xdistill.kernels.passes.neighbours import edge_scores, nearest_keys
from xdistill.kernels.reference import affinity as reference_affinity

OP = "affinity_kl"


def affinity_kl(
    s: Float[Tensor, "n d"],
    t: Float[Tensor, "n e"],
    tau: float | Float[Tensor, ""],
    *,
    teacher_tau: float | Float[Tensor, ""] | None = None,
    s_keys: Float[Tensor, "m d"] | None = None,
    t_keys: Float[Tensor, "m e"] | None = None,
    valid: Bool[Tensor, " n"] | None = None,
    key_valid: Bool[Tensor, " m"] | None = None,
    neighbours: int | None = None,
    gather: Gather = "none",
    impl: Impl = "auto",
) -> Float[Tensor, ""]:
    """Mean over i of KL(softmax_j(t_i·t_j / teacher_tau) ‖ softmax_j(s_i·s_j / tau)), j ≠ i.

    Contrastive relational distillation (CRD) of Yang et al., CLIP-KD, CVPR 2024; with neighbours
    and one temperature, the structure term of SACD. Given keys, rows meet these, s_i·s_keys_j and
    t_i·t_keys_j, and j = i takes part. The teacher's side is a constant; gradients go to s, to
    s_keys, and to tau where it is a tensor that asks for one. A row that meets no key counts 0. 0,
    with a gradient of 0, where no row is valid.

    Args:
        s: the student's rows, of length one.
        t: the teacher's rows, of length one; any width.
        tau: temperature of the student's similarities.
        teacher_tau: that of the teacher's; None takes `tau`.
        s_keys: what the student's rows are compared with; None: with each other.
        t_keys: the same for the teacher's; key j of both is one sample.
        valid: False for rows that take no part, as keys too where rows meet each other, whatever
            they hold (NaN too).
        key_valid: False for keys that are not there.
        neighbours: how many keys a row meets, those nearest to it for the teacher; None: all.
        gather: "all" brings the keys of all processes here, "ring" passes them round; the value is
            then that of the whole batch: `distributed`. Neighbours need "all".
        impl: "reference" builds both [N, M] matrices; "tiled" and "triton" hold O(N + M) numbers,
            and N · neighbours where that is given, which "triton" does not have.

    Raises:
        ValueError: shapes that do not fit, a temperature or number of neighbours that is not
            positive, batches of different sizes on the processes, or an `impl` that cannot run.
    """
    _check(s, t, tau, teacher_tau, s_keys, t_keys, valid, key_valid, neighbours)
    own = None
    if s_keys is None or t_keys is None:
        s_keys, t_keys, key_valid, own = s, t, valid, 0
    ranks = share(OP, gather, s, s_keys)
    if neighbours is not None and neighbours >= len(s_keys) * ranks.size:
        neighbours = None
    if neighbours is not None and ranks.ring:
        raise ValueError(
            f'{OP}: gather="ring" sees a part of the keys at a time and cannot tell the nearest, '
            f'got neighbours={neighbours}; take gather="all"'
        )
    chosen = _choose(impl, s, len(s_keys) * ranks.size, neighbours)
    dtype = working_dtype(chosen, s, s_keys, t, t_keys)
    with torch.autocast(s.device.type, enabled=False):
        tx = prepare(t, valid, dtype, 1 / (tau if teacher_tau is None else teacher_tau)).detach()
        tk = prepare(t_keys, key_valid, dtype).detach()
        rows = Rows(prepare(s, valid, dtype, 1 / tau), None, valid)
        keys = Keys(prepare(s_keys, key_valid, dtype), None, key_valid, own)
        if chosen == "reference":
            rows, keys = whole_rows(rows, ranks), whole_keys(keys, ranks)
            tx, tk = gather_whole(tx, ranks), gather_whole(tk, ranks)
            return reference_affinity.affinity_kl(rows, keys, tx, tk, neighbours)
        if not ranks.ring:
            keys, tk = gather_keys(keys, ranks), gather_whole(tk, ranks)
        keep = torch.ones(len(s), dtype=torch.bool, device=s.device) if valid is None else valid
        if neighbours is not None:
            return mean_over_all(_of_neighbours(rows, keys, tx, tk, neighbours), keep, ranks)
        lse, target_lse, cross = affinity_stats(rows, keys, tx, tk, chosen, ranks)
        return mean_over_all(cross - target_lse + lse, keep, ranks)


def _of_neighbours(
    rows: Rows,
    keys: Keys,
    tx: Float[Tensor, "n e"],
    tk: Float[Tensor, "m e"],
    count: int,
) -> Float[Tensor, " n"]:
    """The divergence over each row's edges alone, [N, count] of them."""
    place, found = nearest_keys(tx, tk, keys.valid, keys.own, count)
    scores = edge_scores(rows.x, keys.k, place)
    targets = edge_scores(tx, tk, place)
    return reference_affinity.divergence(scores, targets, found)


def _choose(impl: str, s: Tensor, keys: int, neighbours: int | None) -> str:
    """As every kernel, but edges to neighbours are no matter for Triton."""
    if neighbours is not None and impl == "triton":
        raise ValueError(
            f'{OP}: impl="triton" compares all keys and has no neighbours, got '
            f'neighbours={neighbours}; take impl="auto" or impl="tiled", which run on a GPU too'
        )
    chosen = choose(OP, impl, s, keys)
    return "tiled" if neighbours is not None and chosen == "triton" else chosen


def _check(s, t, tau, teacher_tau, s_keys, t_keys, valid, key_valid, neighbours) -> None:
    if s.ndim != 2 or t.ndim != 2 or len(s) != len(t):
        raise ValueError(
            f"{OP}: student and teacher rows must be [N, D] and [N, E], row i of both one sample, "
            f"got {list(s.shape)} and {list(t.shape)}"
        )
    if (s_keys is None) != (t_keys is None):
        missing = "s_keys" if s_keys is None else "t_keys"
        raise ValueError(
            f"{OP}: keys are needed on both sides or on neither, {missing} is missing; without "
            "keys the rows of each side are compared with each other"
        )
    if s_keys is not None:
        check_rows(OP, s, s_keys)
        check_rows(OP, t, t_keys)
        if len(s_keys) != len(t_keys):
            raise ValueError(
                f"{OP}: key j of student and teacher is one sample, got {len(s_keys)} and "
                f"{len(t_keys)} keys"
            )
    elif key_valid is not None:
        raise ValueError(
            f"{OP}: key_valid was given without keys; the rows are the keys, and valid is for both"
        )
    check_beside(OP, valid=(valid, s), key_valid=(key_valid, s_keys))
    for name, value in (("tau", tau), ("teacher_tau", teacher_tau)):
        if value is not None and not isinstance(value, Tensor) and value <= 0:
            raise ValueError(f"{OP}: a temperature must be above 0, got {name}={value}")
    if neighbours is not None and neighbours < 1:
        raise ValueError(
            f"{OP}: neighbours must be at least 1, or None for all keys, got {neighbours}"
        )
