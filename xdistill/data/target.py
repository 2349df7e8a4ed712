"""The target column of a dataset: its kind, its check, and what unlabelled means in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from jaxtyping import Shaped
from torch import Tensor

from xdistill.data.fields import as_target
from xdistill.types import TargetKind

SUM_TOLERANCE = 1e-3


def target_column(
    target: Any, classes: Sequence[str] | None, kind: TargetKind | None
) -> tuple[Shaped[Tensor, "n ..."], tuple[str, ...]]:
    """The column as int64 classes or float32 values, and the names of the classes or values.

    Args:
        target: numbers, one or several per row, or names of classes.
        classes: see `PairedDataset`.
        kind: see `PairedBatch`; None takes whole numbers and names for classes.

    Raises:
        ValueError: an unknown kind, a name that is no class, or numbers that are not whole where
            classes are expected.
    """
    if kind is not None and kind not in get_args(TargetKind):
        raise ValueError(f"target_kind must be one of {get_args(TargetKind)}, got {kind!r}")
    if kind not in ("values", "soft"):
        return as_target(target, classes)
    given = torch.as_tensor(target.to_numpy() if hasattr(target, "to_numpy") else target)
    return given.to(torch.float32), tuple(map(str, classes or ()))


def kind_of_column(target: Tensor, kind: TargetKind | None) -> TargetKind:
    """The kind that was asked for, or that of whole numbers: one class a row, or several."""
    return kind or ("class" if target.ndim == 1 else "classes")


def check_target(
    target: Tensor, kind: TargetKind, classes: Sequence[str], ids: Sequence[str]
) -> None:
    """Refuse a column that is not of its kind.

    Raises:
        ValueError: another shape than the kind has, a number that is no class, an infinite value,
            or a row that is no distribution.
    """
    axes = {"class": (1, 1), "classes": (2, 2), "sequence": (2, 2), "soft": (2, 2)}
    low, high = axes.get(kind, (1, 3))
    shape = list(target.shape)
    if not low <= target.ndim <= high:
        wanted = {1: "[N]", 2: "[N, K], or [N, L] for a sequence"}.get(low, "[N] or [N, K]")
        raise ValueError(f"target_kind={kind!r} expects a target {wanted}, got shape {shape}")
    if kind in ("classes", "soft") and target.shape[1:] != (len(classes),):
        raise ValueError(
            f"target has shape {shape}, expected [{len(target)}] for one class a row or "
            f"[{len(target)}, {len(classes)}] for several; for a class at each position pass "
            'target_kind="sequence"'
        )
    if kind == "values":
        _check_values(target, classes, ids)
    elif kind == "soft":
        _check_soft(target, ids)
    else:
        _check_classes(target, kind, classes, ids)


def _check_values(target: Tensor, names: Sequence[str], ids: Sequence[str]) -> None:
    width = 1 if target.ndim == 1 else target.shape[-1]
    if len(names) not in (0, width):
        raise ValueError(
            f"classes names {len(names)} values, the target has {width} in a row; name each of "
            "them, or none"
        )
    wrong = target.isinf().nonzero()
    if len(wrong):
        row = int(wrong[0, 0])
        raise ValueError(
            f"row {row} ({ids[row]}) has an infinite target, expected a number, or NaN where "
            "unlabelled"
        )


def _check_soft(target: Tensor, ids: Sequence[str]) -> None:
    right = (target >= 0).all(dim=1) & ((target.sum(dim=1) - 1).abs() <= SUM_TOLERANCE)
    wrong = (~(right | target.isnan().all(dim=1))).nonzero().flatten()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"row {row} ({ids[row]}) has soft labels {target[row].tolist()}, expected "
            "probabilities that sum to 1, or NaN throughout where unlabelled"
        )


def _check_classes(
    target: Tensor, kind: TargetKind, classes: Sequence[str], ids: Sequence[str]
) -> None:
    highest = 1 if kind == "classes" else len(classes) - 1
    wrong = ((target < -1) | (target > highest)).nonzero()
    if len(wrong):
        row, found = int(wrong[0, 0]), int(target[tuple(wrong[0])])
        meaning = "without and with a class" if kind == "classes" else ", ".join(classes)
        raise ValueError(
            f"row {row} ({ids[row]}) has target {found}, expected -1 (unlabelled) or 0 to "
            f"{highest} ({meaning})"
        )


def hidden_target(target: Tensor) -> Tensor:
    """A column of the same shape in which every row is unlabelled: -1, or NaN for floats."""
    return torch.full_like(target, float("nan") if target.is_floating_point() else -1)
