"""Checks of the arguments that a loss is called with."""

from __future__ import annotations

from jaxtyping import Float, Shaped
from torch import Tensor

from xdistill.types import Outputs


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
