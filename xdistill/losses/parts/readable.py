"""What a loss is called with, in the form that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdistill.losses.parts.positions import Arguments, by_position, has_positions
from xdistill.losses.parts.targets import read_target

if TYPE_CHECKING:
    from xdistill.losses.parts.loss import Loss


def readable(loss: Loss, given: Arguments) -> Arguments:
    """The arguments in the form that `forward` reads; an error if there is none."""
    if "embedding" in loss.needs and not loss.task and not given.teacher.embedding.shape[-1]:
        raise ValueError(
            f"{loss.label} compares embeddings, but the teacher's has width 0; precomputed "
            "outputs need embedding= for it, or take a loss on logits"
        )
    if loss.per_position and has_positions(given.student, given.teacher):
        read = given.target if "labels" in loss.inputs and loss.reads else None
        given = given._replace(target=read)
        given = by_position(loss.label, loss.inputs, True, given)
    target = read_target(
        loss.label,
        loss.inputs,
        loss.reads,
        given.target,
        given.student.logits,
        needed="labels" in loss.needs,
    )
    given = given._replace(target=target)
    if "sequence" in loss.reads or not has_positions(given.student, given.teacher):
        return given
    return by_position(loss.label, loss.inputs, False, given)
