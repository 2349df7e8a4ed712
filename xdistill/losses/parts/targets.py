"""Which kind a target is of, and whether a loss is defined for it."""

from __future__ import annotations

import torch
from torch import Tensor

from xdistill.types import TargetKind

CLASS_KINDS: tuple[TargetKind, ...] = ("class", "classes")
DESCRIBED: dict[TargetKind, str] = {
    "class": "one class per row, target int64 [B]",
    "classes": "several classes per row, target int64 [B, K]",
    "soft": "soft labels, target float [B, K] whose rows sum to 1",
    "values": "values to regress, target float [B] or [B, K]",
    "sequence": "a class per position, target int64 [B, L] beside logits [B, L, K]",
}
INSTEAD: dict[TargetKind, str] = {
    "class": "use cross_entropy for the task",
    "classes": "use binary_cross_entropy for the task and, to distil, khn, sacd or a loss that "
    "reads no labels (`xdistill losses` lists them)",
    "soft": "use cross_entropy for the task and, to distil, a loss that reads no labels",
    "values": "use mse or smooth_l1 for the task and, to distil, logit_mse or a loss on embeddings",
    "sequence": "use cross_entropy for the task and, to distil, kd or another loss that is defined "
    "per position",
}
SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from summing to 1: half precision rounds by so much."""


def kind_of(target: Tensor, logits: Tensor | None, reads: tuple[TargetKind, ...]) -> TargetKind:
    """The kind of a target; a float [B, K] is soft labels or values, as the loss reads it.

    Where a loss reads neither or both, rows that are probabilities are soft labels.

    Raises:
        TypeError: a dtype that is neither int64 nor floating.
    """
    if target.is_floating_point():
        if target.ndim == 1:
            return "values"
        either = ("soft" in reads) == ("values" in reads)
        soft = are_probabilities(target) if either else "soft" in reads
        return "soft" if soft else "values"
    if target.dtype != torch.int64:
        raise TypeError(
            "target must be int64 class indices, or floating for values and soft labels, got "
            f"{target.dtype}; use .long() or .float()"
        )
    if target.ndim == 1:
        return "class"
    return "sequence" if logits is not None and logits.ndim > 2 else "classes"


def are_probabilities(target: Tensor) -> bool:
    """Whether each row of [..., K], K > 1, is not negative and sums to 1, or is NaN throughout."""
    return target.shape[-1] > 1 and first_not_a_distribution(target) is None


def first_not_a_distribution(target: Tensor) -> int | None:
    """The first row of [N, K] that is neither a distribution nor NaN throughout."""
    rows = target.detach().float().flatten(0, -2)
    right = ((rows >= 0).all(dim=1)) & ((rows.sum(dim=1) - 1).abs() <= SUM_TOLERANCE)
    wrong = (~(right | rows.isnan().all(dim=1))).nonzero().flatten()
    return int(wrong[0]) if len(wrong) else None


def read_target(
    label: str,
    inputs: tuple[str, ...],
    reads: tuple[TargetKind, ...],
    target: Tensor | None,
    logits: Tensor | None,
    needed: bool = False,
) -> Tensor | None:
    """The target as a loss may read it: None where it reads no target of this kind.

    Args:
        label: name of the loss, for messages.
        inputs: what it needs and uses (`Loss.needs`, `Loss.uses`).
        reads: the kinds that it is defined for; none at all after `without_labels`.
        target: what it was called with.
        logits: the student's.
        needed: whether the loss is nothing without a target.

    Raises:
        TypeError: a dtype that no target has.
        ValueError: a target of a kind that the loss is not defined for, or out of range.
    """
    if target is None or not reads:
        return None
    if torch.compiler.is_compiling():
        return target
    declared = "labels" in inputs or reads != ("class",)
    if not declared and target.is_floating_point() and "logits" not in inputs:
        return None  # nothing to tell apart, which would wait for the device
    kind = kind_of(target, logits, reads)
    if declared and kind not in reads:
        known = " or ".join(DESCRIBED[one] for one in reads)
        raise ValueError(
            f"{label} reads {known}, got target {list(target.shape)} of {target.dtype}, for "
            f"{DESCRIBED[kind].partition(',')[0]}; {INSTEAD[kind]}"
            f"{'' if needed else ', or hide the target from it: xd.without_labels'}"
        )
    if kind == "values" and "logits" in inputs and kind not in reads:
        raise ValueError(
            f"{label} takes logits for the scores of classes, but target {list(target.shape)} of "
            f"{target.dtype} holds values to regress; {INSTEAD['values']}"
        )
    _check(target, kind, logits)
    return target if kind in reads or kind in CLASS_KINDS else None


def _check(target: Tensor, kind: TargetKind, logits: Tensor | None) -> None:
    """Refuse values that the kind does not have; on the CPU only, elsewhere it would wait."""
    if target.device.type != "cpu" or not target.numel():
        return
    if kind == "values":
        if bool(target.isinf().any()):
            raise ValueError(
                "target holds an infinite value, expected numbers, or NaN where unlabelled"
            )
    elif kind == "soft":
        if (row := first_not_a_distribution(target)) is not None:
            raise ValueError(
                f"target row {row} is {target.flatten(0, -2)[row].tolist()}, expected "
                "probabilities that sum to 1 (soft labels), or NaN throughout where unlabelled; "
                "for values to regress use mse or smooth_l1"
            )
    elif logits is not None:
        _check_classes(target, kind, logits)


def _check_classes(target: Tensor, kind: TargetKind, logits: Tensor) -> None:
    rows, classes = len(target), logits.shape[-1]
    if kind == "classes" and target.shape[1:] != (classes,):
        raise ValueError(
            f"target has shape {list(target.shape)}, expected [{rows}] or [{rows}, {classes}]"
        )
    if kind == "sequence" and target.shape != logits.shape[:-1]:
        raise ValueError(
            f"target has shape {list(target.shape)}, expected that of the positions of the logits, "
            f"{list(logits.shape[:-1])}"
        )
    low, high = int(target.min()), int(target.max())
    if low < -1 or high >= (2 if kind == "classes" else classes):
        expected = "0 or 1" if kind == "classes" else f"a class from 0 to {classes - 1}"
        raise ValueError(
            f"target holds {low if low < -1 else high}, expected -1 (unlabelled) or {expected}"
        )
