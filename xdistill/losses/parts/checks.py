"""Checks of the arguments that a loss is called with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from xdistill.types import Outputs


def check_outputs(loss: str, student: Any, teacher: Any) -> None:
    """Refuse bare tensors, and embeddings that are not [B, D]."""
    for role, one in (("student", student), ("teacher", teacher)):
        if not isinstance(one, Outputs):
            what = f"a tensor {list(one.shape)}" if isinstance(one, Tensor) else type(one).__name__
            raise TypeError(
                f"{loss}: {role} must be xd.Outputs, which holds an encoder's embedding [B, D] and "
                f"its logits [B, K], got {what}; an encoder returns Outputs(embedding, logits), "
                "and plain logits become Outputs(embedding=logits, logits=logits)"
            )
        if one.embedding.ndim not in (2, 3):
            raise ValueError(
                f"{loss}: the {role}'s embedding must be [B, D], or [B, L, D] with positions, "
                f"got {list(one.embedding.shape)}; "
                "pool it over space and time, as in x.mean(dim=(2, 3)), or flatten it, and give "
                "the map itself as Outputs.hidden"
            )


def as_tensor(
    name: str, given: Any, student: Outputs, floating: bool = False
) -> Shaped[Tensor, "b ..."] | None:
    """Classes or row numbers of any integer type, numpy's too, as int64.

    Args:
        name: of the argument, for messages.
        given: what the loss was called with.
        student: on whose device an array goes.
        floating: leave floating values as they are: a target may hold soft labels or values.
    """
    if given is None or torch.compiler.is_compiling():
        return given
    if isinstance(given, np.ndarray):
        given = torch.as_tensor(given, device=student.embedding.device)
    if not isinstance(given, Tensor):
        raise TypeError(
            f"{name} must be a tensor with one row per sample, got {type(given).__name__}; use "
            f"torch.tensor({name})"
        )
    if given.is_floating_point() and floating:
        return given
    if given.dtype == torch.bool or given.is_floating_point() or given.is_complex():
        meaning = "class indices" if floating else "row numbers"
        raise TypeError(f"{name} must be integer {meaning}, got {given.dtype}; use .long()")
    return given.long()


def check_rows(
    student: Outputs,
    teacher: Outputs,
    target: Tensor | None,
    valid: Tensor | None,
    index: Tensor | None,
) -> None:
    """Refuse arguments whose numbers of rows disagree."""
    rows = len(student.embedding)
    named = {"teacher": teacher.embedding, "target": target, "valid": valid, "index": index}
    for name, tensor in named.items():
        if tensor is not None and len(tensor) != rows:
            raise ValueError(
                f"the student has {rows} rows but {name} has {len(tensor)}; pass the same batch"
            )
    if valid is not None and valid.dtype != torch.bool:
        raise TypeError(
            f"valid must be bool, True where the row has its teacher, got {valid.dtype}; use "
            "valid == 1"
        )


def require_target(loss: str, target: Tensor | None) -> Shaped[Tensor, "b ..."]:
    """The labels; an error if there are none."""
    if target is None:
        raise ValueError(f"{loss} needs target, got None; pass the batch's labels")
    return target


def require_logits(loss: str, *outputs: Outputs) -> None:
    """Refuse outputs without logits, or with different numbers of classes."""
    shapes = [None if one.logits is None else one.logits.shape[1] for one in outputs]
    if None in shapes:
        raise ValueError(
            f"{loss} compares class logits, but an encoder returned none; create it with "
            "num_classes"
        )
    if len(set(shapes)) > 1:
        raise ValueError(
            f"{loss} compares logits of the same classes, got {shapes} classes; create both "
            "encoders with the same num_classes"
        )


def require_classes(loss: str, made_for: int | None, logits: Float[Tensor, "b k"]) -> None:
    """Refuse logits of another number of classes than the loss was bound for."""
    if logits.shape[1] != made_for:
        raise ValueError(
            f"{loss} was made for {made_for} classes, the student has {logits.shape[1]}; give both "
            "the same num_classes"
        )


def check_scalar(loss: str, value: Tensor) -> None:
    """Refuse a value that is not one number: summed with others it would be broadcast."""
    shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if shape != []:
        raise ValueError(
            f"{loss} returned {shape}, expected a scalar tensor; return the mean over the rows"
        )
