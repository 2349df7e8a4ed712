"""Outputs with positions, [B, L, K]: each becomes a row, or the loss says that it cannot."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from xdistill.types import Outputs


class Arguments(NamedTuple):
    """What a loss is called with."""

    student: Outputs
    teacher: Outputs
    target: Tensor | None
    valid: Tensor | None
    index: Tensor | None


def has_positions(*outputs: Outputs) -> bool:
    """Whether embedding or logits have an axis between that of the rows and the last one."""
    return any(_wide(one.embedding) or _wide(one.logits) for one in outputs)


def by_position(
    label: str, inputs: tuple[str, ...], per_position: bool, given: Arguments
) -> Arguments:
    """The arguments for a loss that takes [B, D] and [B, K], where outputs have positions.

    What the loss does not read is left out or averaged over its positions, so that a loss on hidden
    layers or pooled embeddings is as without positions. Of what it reads, each of the L positions
    of each row becomes a row of its own, in order: B·L rows.

    Args:
        label: name of the loss, for messages.
        inputs: what it reads: "logits", "embedding", "hidden".
        per_position: whether it is defined so (`Loss.per_position`).
        given: its arguments, with `target` [B, L, …] or [B, …].

    Raises:
        ValueError: the loss is not defined per position, or student and teacher have other numbers
            of positions.
    """
    student, teacher, target, valid, _ = given
    read = [part for part in ("logits", "embedding") if part in inputs]
    shapes = {part: [_shape(getattr(one, part)) for one in (student, teacher)] for part in read}
    positions = {part: ours for part, ours in shapes.items() if any(len(s) > 2 for s in ours)}
    if not positions:
        return given._replace(student=_pooled(student, read), teacher=_pooled(teacher, read))
    part, (ours, theirs) = next(iter(positions.items()))
    if not per_position:
        raise ValueError(
            f"{label} is not defined per position: it compares one {part} per row, [B, K], got "
            f"{list(ours)} (student) and {list(theirs)} (teacher); average over the positions in "
            "the encoder, or take a loss that is (docs/targets.md lists them)"
        )
    found = {shape[1:-1] for both in shapes.values() for shape in both if shape}
    if len(found) > 1:
        raise ValueError(
            f"{label} compares position by position, got {part} of {list(ours)} (student) and "
            f"{list(theirs)} (teacher); give both the same positions"
        )
    (axes,) = found
    count = torch.Size(axes).numel()
    if target is not None and target.shape[1 : 1 + len(axes)] != axes:
        raise ValueError(
            f"{label}: target has shape {list(target.shape)} beside {part} of {list(ours)}; "
            f"expected a label for each position, {[len(target), *axes]}"
        )
    return Arguments(
        _flat(student, axes, read),
        _flat(teacher, axes, read),
        None if target is None else target.flatten(0, len(axes)),
        None if valid is None else valid.repeat_interleave(count),
        None,
    )


def _wide(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.ndim > 2


def _shape(tensor: Tensor | None) -> torch.Size:
    return torch.Size() if tensor is None else tensor.shape


def _pooled(outputs: Outputs, read: list[str]) -> Outputs:
    """Without what has positions and is not read."""
    embedding = outputs.embedding
    if _wide(embedding):
        embedding = embedding.flatten(1, -2).mean(dim=1)
    logits = None if _wide(outputs.logits) and "logits" not in read else outputs.logits
    return Outputs(embedding, logits, outputs.hidden)


def _flat(outputs: Outputs, axes: torch.Size, read: list[str]) -> Outputs:
    """A row for each position; an embedding without positions is repeated at each."""
    embedding, logits = outputs.embedding, outputs.logits
    if not _wide(embedding):
        embedding = embedding.unflatten(1, (*[1] * len(axes), -1)).expand(-1, *axes, -1)
    flat = None if logits is None or "logits" not in read else logits.flatten(0, -2)
    return Outputs(embedding.flatten(0, -2), flat)
