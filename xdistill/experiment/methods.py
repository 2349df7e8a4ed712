"""What a method of the suite is: a loss by name at a multiple of its recommended weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xdistill as xd

# 16,384 negatives per row, CRD's own number, would take minutes a run where others take seconds.
OPTIONS: Mapping[str, Mapping[str, Any]] = {"crd": {"num_negatives": 256}}

ALL_NEGATIVES = {"bank_size": 0, "form": "nce", "mining": "all"}

PARTS: Mapping[str, Mapping[str, Any]] = {
    "sacd/contrast_only": {"structure": None},
    "sacd/structure_only": {"contrast_weight": 0.0},
    "sacd/structure_weight_1": {"structure_weight": 1.0},
    "sacd/structure_weight_16": {"structure_weight": 16.0},
    "sacd/projected_structure": {"structure_space": "projected"},
    "sacd/gram": {"structure": "gram", "structure_weight": 3000.0},
    "sacd/bank_0": {"bank_size": 0},
    "sacd/bank_1024": {"bank_size": 1024},
    "sacd/k_1": {"k": 1},
    "sacd/k_20": {"k": 20},
    "sacd/nce": {"form": "nce"},
    "sacd/hard": {"mining": "hard"},
    "sacd/paired_positives": {"positives": "pair"},
    "sacd/composition": {"composition": True},
}
"""SACD with one part changed; `sacd` itself is what all others are compared with."""

LIGHT: Mapping[str, Mapping[str, Any]] = {
    "sacd/bank_0_weight_1": {"bank_size": 0, "structure_weight": 1.0},
    "sacd/bank_0_no_projector": {"bank_size": 0, "dim": None},
    "sacd/all_negatives": ALL_NEGATIVES,
    "sacd/all_negatives_weight_1": {**ALL_NEGATIVES, "structure_weight": 1.0},
    "sacd/all_negatives_no_projector": {**ALL_NEGATIVES, "dim": None},
    "sacd/all_negatives_no_structure": {**ALL_NEGATIVES, "dim": None, "structure": None},
}
"""SACD without its bank and with more changed, to be combined with other losses."""

COMBINATIONS = (
    "dist",
    "ccl",
    "supcon",
    "infonce",
    "dist+supcon",
    "kd+sacd/bank_0",
    "sacd/bank_0",
    "sacd/bank_0_no_projector",
    "sacd/all_negatives",
    "sacd/all_negatives_no_projector",
    "sacd/all_negatives_no_structure",
    "dist+sacd",
    "dist+sacd/bank_0",
    "dist+sacd/bank_0_weight_1",
    "dist+sacd/all_negatives",
    "dist+sacd/all_negatives_weight_1",
    "dist+sacd/all_negatives_no_structure",
)
"""SACD beside another loss, and what that loss and others do by themselves."""

WARMUP_SHARE = 0.25


def create_term(method: str) -> xd.Loss:
    """The loss of a name: registered, or a variant of SACD."""
    options = {**OPTIONS, **PARTS, **LIGHT}.get(method, {})
    known = method in PARTS or method in LIGHT
    return xd.create_loss("sacd" if known else method, **options)


def create_losses(
    method: str, teachers: Sequence[str], strength: float, epochs: int
) -> dict[str, xd.Loss]:
    """One loss per teacher, which a Distiller adds up; the task's loss is in the first one.

    The task's loss is cross-entropy, for `kd` and what has it ("kd+sacd") a tenth of it, as usual,
    with 0.9 of `kd`. Every other term has `strength` times its recommended weight. Several teachers
    share it. A recommended warm-up lasts a quarter of the training at most.

    Raises:
        ValueError: an unknown method.
    """
    names = method.split("+")
    task = (0.1 if "kd" in names else 1.0) * xd.CrossEntropy()
    losses: dict[str, xd.Loss] = {}
    for teacher in teachers:
        parts = [] if losses else [task]
        for name in names:
            term = create_term(name)
            weight = 0.9 if name == "kd" else term.recommended_weight
            warmup = min(term.recommended_warmup_epochs, int(WARMUP_SHARE * epochs))
            parts.append(
                strength / len(teachers) * weight * (xd.warmup(term, warmup) if warmup else term)
            )
        losses[teacher] = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        for part in parts[2:]:
            losses[teacher] = losses[teacher] + part
    return losses
