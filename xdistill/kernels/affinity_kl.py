"""Similarities among rows, taught from teacher to student without a matrix of similarities."""

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
from xdistill.kernels.reference import affinity as reference

OP = "affinity_kl"


def affinity_kl(
    student_rows: Float[Tensor, "n d"],
    teacher_rows: Float[Tensor, "n e"],
    temperature: float | Float[Tensor, ""],
    *,
    teacher_temperature: float | Float[Tensor, ""] | None = None,
    student_keys: Float[Tensor, "m d"] | None = None,
    teacher_keys: Float[Tensor, "m e"] | None = None,
    valid: Bool[Tensor, " n"] | None = None,
    key_valid: Bool[Tensor, " m"] | None = None,
    neighbours: int | None = None,
    gather: Gather = "none",
    impl: Impl = "auto",
) -> Float[Tensor, ""]:
    """Mean over i of KL(softmax_j(t_i·t_j / T_t) ‖ softmax_j(s_i·s_j / T_s)), j ≠ i.

    s are the student's rows and T_s its temperature, t and T_t the teacher's. This is contrastive
    relational distillation (CRD) of Yang et al., CLIP-KD, CVPR 2024; with neighbours and one
    temperature it is the structure term of SACD. Given keys, rows are compared with these instead,
    s_i·student_keys_j and t_i·teacher_keys_j, and j = i takes part. The teacher's side is a
    constant; gradients go to student_rows, to student_keys, and to a temperature that is a tensor
    and requires one. A row without any key to compare with counts as 0. The value is 0, with a
    gradient of 0, when no row is valid.

    Args:
        student_rows: unit rows.
        teacher_rows: unit rows of any width; row i of both is one sample.
        temperature: divides the student's similarities. Distillation and the paper's equations have
            a temperature for each side; the contrastive kernels take scale = 1 / temperature.
        teacher_temperature: divides the teacher's similarities; None takes `temperature`.
        student_keys: what the student's rows are compared with; None compares them with each other.
        teacher_keys: the same for the teacher; key j of both is one sample.
        valid: False for rows that take no part, as keys too where rows are compared with each
            other; they may hold anything, NaN included.
        key_valid: False for keys that take no part.
        neighbours: the number of keys that a row is compared with, the nearest ones for the
            teacher; None takes all.
        gather: "all" collects the keys of all processes here, "ring" passes them on from process to
            process; either way the value is that of the whole batch (`distributed`). Neighbours
            need "all".
        impl: "reference" builds both [N, M] matrices; "tiled" and "triton" hold O(N + M) numbers,
            and N · neighbours where that is given, which "triton" does not support.

    Raises:
        ValueError: shapes that do not fit, a temperature or number of neighbours that is not
            positive, batches of different sizes on the processes, or an `impl` that cannot run.
    """
    _check_rows(student_rows, teacher_rows, student_keys, teacher_keys)
    _check_options(temperature, teacher_temperature, neighbours)
    if student_keys is None and key_valid is not None:
        raise ValueError(
            f"{OP}: key_valid was given without keys; the rows are the keys, and valid masks both"
        )
    check_beside(OP, valid=(valid, student_rows), key_valid=(key_valid, student_keys))
    own = None
    if student_keys is None or teacher_keys is None:
        student_keys, teacher_keys, key_valid, own = student_rows, teacher_rows, valid, 0
    ranks = share(OP, gather, student_rows, student_keys)
    if neighbours is not None and neighbours >= len(student_keys) * ranks.size:
        neighbours = None
    if neighbours is not None and ranks.ring:
        raise ValueError(
            f'{OP}: gather="ring" sees a part of the keys at a time and cannot tell the nearest, '
            f'got neighbours={neighbours}; take gather="all"'
        )
    chosen = _choose(impl, student_rows, len(student_keys) * ranks.size, neighbours)
    dtype = working_dtype(chosen, student_rows, student_keys, teacher_rows, teacher_keys)
    with torch.autocast(student_rows.device.type, enabled=False):
        scale = 1 / (temperature if teacher_temperature is None else teacher_temperature)
        tx = prepare(teacher_rows, valid, dtype, scale).detach()
        tk = prepare(teacher_keys, key_valid, dtype).detach()
        rows = Rows(prepare(student_rows, valid, dtype, 1 / temperature), None, valid)
        keys = Keys(prepare(student_keys, key_valid, dtype), None, key_valid, own)
        if chosen == "reference":
            rows, keys = whole_rows(rows, ranks), whole_keys(keys, ranks)
            tx, tk = gather_whole(tx, ranks), gather_whole(tk, ranks)
            return reference.affinity_kl(rows, keys, tx, tk, neighbours)
        if not ranks.ring:
            keys, tk = gather_keys(keys, ranks), gather_whole(tk, ranks)
        every = torch.ones(len(student_rows), dtype=torch.bool, device=student_rows.device)
        counted = every if valid is None else valid
        if neighbours is not None:
            return mean_over_all(_of_neighbours(rows, keys, tx, tk, neighbours), counted, ranks)
        lse, target_lse, cross = affinity_stats(rows, keys, tx, tk, chosen, ranks)
        return mean_over_all(cross - target_lse + lse, counted, ranks)


def _of_neighbours(
    rows: Rows,
    keys: Keys,
    tx: Float[Tensor, "n e"],
    tk: Float[Tensor, "m e"],
    count: int,
) -> Float[Tensor, " n"]:
    """The divergence of each row over its `count` neighbours alone."""
    place, found = nearest_keys(tx, tk, keys.valid, keys.own, count)
    scores = edge_scores(rows.x, keys.k, place)
    targets = edge_scores(tx, tk, place)
    return reference.divergence(scores, targets, found)


def _choose(impl: str, rows: Tensor, num_keys: int, neighbours: int | None) -> str:
    """As for every kernel, but Triton has no passes over neighbours."""
    if neighbours is not None and impl == "triton":
        raise ValueError(
            f'{OP}: impl="triton" compares all keys and has no neighbours, got '
            f'neighbours={neighbours}; take impl="auto" or impl="tiled", which run on a GPU too'
        )
    chosen = choose(OP, impl, rows, num_keys)
    return "tiled" if neighbours is not None and chosen == "triton" else chosen


def _check_rows(student_rows, teacher_rows, student_keys, teacher_keys) -> None:
    if student_rows.ndim != 2 or teacher_rows.ndim != 2 or len(student_rows) != len(teacher_rows):
        raise ValueError(
            f"{OP}: student and teacher rows must be [N, D] and [N, E], row i of both one sample, "
            f"got {list(student_rows.shape)} and {list(teacher_rows.shape)}"
        )
    if (student_keys is None) != (teacher_keys is None):
        missing = "student_keys" if student_keys is None else "teacher_keys"
        raise ValueError(
            f"{OP}: keys are needed on both sides or on neither, {missing} is missing; without "
            "keys the rows of each side are compared with each other"
        )
    if student_keys is not None:
        check_rows(OP, student_rows, student_keys)
        check_rows(OP, teacher_rows, teacher_keys)
        if len(student_keys) != len(teacher_keys):
            raise ValueError(
                f"{OP}: key j of student and teacher is one sample, got {len(student_keys)} and "
                f"{len(teacher_keys)} keys"
            )


def _check_options(temperature, teacher_temperature, neighbours) -> None:
    for name, value in (
        ("temperature", temperature),
        ("teacher_temperature", teacher_temperature),
    ):
        if value is not None and not isinstance(value, Tensor) and value <= 0:
            raise ValueError(f"{OP}: a temperature must be above 0, got {name}={value}")
    if neighbours is not None and neighbours < 1:
        raise ValueError(
            f"{OP}: neighbours must be at least 1, or None for all keys, got {neighbours}"
        )
