"""Copies of what a run trains: the student, and what trains beside it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _NormBase

from xdistill.distiller import Distiller

Weights = dict[str, Any]


class Kept(NamedTuple):
    """The weights of an epoch, on the CPU.

    Attributes:
        student: its state.
        beside: projectors, adapters and critics of the losses, and what trains of the teachers, by
            their names in the distiller.
    """

    student: Weights
    beside: dict[str, Tensor]


def kept_of(distiller: Distiller) -> Kept:
    """A copy of what trains."""
    student = {name: _copied(one) for name, one in distiller.student.state_dict().items()}
    return Kept(student, {name: _copied(one) for name, one in beside_student(distiller)})


def is_kept(distiller: Distiller, kept: Kept) -> bool:
    """Whether the distiller holds these weights, bit for bit; copies nothing on the CPU."""
    held = {**distiller.student.state_dict()}, dict(beside_student(distiller))
    return all(map(_equal, held, kept))


def restore(distiller: Distiller, kept: Kept) -> None:
    """Give the distiller the weights of an epoch."""
    distiller.student.load_state_dict(kept.student)
    with torch.no_grad():
        for name, one in beside_student(distiller):
            if name in kept.beside:
                one.copy_(kept.beside[name])


def share_statistics(distiller: Distiller, world_size: int) -> None:
    """Give all ranks the student's buffers, and the statistics of what trains, of the first.

    DDP leaves each rank its own statistics of a BatchNorm.
    """
    if world_size < 2 or not distributed.is_initialized():
        return
    for buffer in distiller.student.buffers():
        distributed.broadcast(buffer, src=0)
    for _, one in beside_student(distiller):
        if not isinstance(one, nn.Parameter):
            distributed.broadcast(one, src=0)


def beside_student(distiller: Distiller) -> Iterator[tuple[str, Tensor]]:
    """What trains beside the student: parameters, and buffers that change with them.

    Of the losses the statistics of norms belong to it, their banks and counters do not: those hold
    training rows, and go on from one epoch to the next.
    """
    for name, module in distiller.named_modules():
        part = name.partition(".")[0]
        if part not in ("losses", "teachers", "teacher_loss"):
            continue
        training = [
            (f"{name}.{own}", one)
            for own, one in module.named_parameters(recurse=False)
            if one.requires_grad
        ]
        yield from training
        changes = isinstance(module, _NormBase)
        if part == "teachers":
            changes = distiller.train_teacher is True or bool(training)
        if changes:
            for own, buffer in module.named_buffers(recurse=False):
                yield f"{name}.{own}", buffer


def _copied(one: Any) -> Any:
    if isinstance(one, Tensor):
        return one.detach().to("cpu", copy=True)
    return copy.deepcopy(one)


def _equal(held: Mapping[str, Any], kept: Mapping[str, Any]) -> bool:
    return held.keys() == kept.keys() and all(
        torch.equal(one.detach().cpu(), kept[name])
        if isinstance(one, Tensor)
        else one == kept[name]
        for name, one in held.items()
    )
