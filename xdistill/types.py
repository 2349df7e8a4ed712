"""The values that flow between data, encoders, losses and the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.utils._pytree import register_dataclass

TargetKind = Literal["class", "classes", "soft", "values", "sequence"]
"""What a target is: see `PairedBatch.target`."""


@dataclass
class Outputs:
    """What every encoder returns for a batch of B samples.

    Attributes:
        embedding: [B, D], the representation before the classifier; [B, L, D] with one for each of
            L positions.
        logits: [B, K] class scores, or K values that a regression predicts; [B, L, K] for a
            sequence, whose positions may be those of a map, flattened: L = H·W. None for an encoder
            without a classifier.
        hidden: named intermediate tensors, each with B rows.
    """

    embedding: Float[Tensor, "b *positions d"]
    logits: Float[Tensor, "b ... k"] | None = None
    hidden: dict[str, Tensor] = field(default_factory=dict)

    def detach(self) -> Outputs:
        """The same values outside the autograd graph."""
        return self.map(Tensor.detach)

    def map(self, function) -> Outputs:
        """Apply a Tensor -> Tensor function to every tensor."""
        return Outputs(
            embedding=function(self.embedding),
            logits=None if self.logits is None else function(self.logits),
            hidden={name: function(tensor) for name, tensor in self.hidden.items()},
        )

    def rows(self, index: Tensor) -> Outputs:
        """The rows that a [B] bool mask or an int64 index selects."""
        return self.map(lambda tensor: tensor[index])

    def with_embedding(self, embedding: Float[Tensor, "b *positions d"]) -> Outputs:
        """The same logits and hidden tensors around another embedding."""
        return replace(self, embedding=embedding)


register_dataclass(
    Outputs,
    field_names=["embedding", "logits", "hidden"],
    drop_field_names=[],
    serialized_type_name="xdistill.Outputs",  # torch.export.save asks for one
)


@dataclass
class PairedSample:
    """One row of a PairedDataset: the same moment or object, seen by several modalities.

    `target` is the class, -1 when the row is unlabelled, or as in `PairedBatch`; `group` is
    the subject (or any other unit that a split must keep together); `cached` holds precomputed
    teacher outputs, without the batch axis.
    """

    inputs: dict[str, Tensor]
    target: int | Shaped[Tensor, ...]
    valid: dict[str, bool]
    index: int
    group: int
    cached: dict[str, Outputs] = field(default_factory=dict)


def unlabelled_where(
    target: Shaped[Tensor, "b ..."], rows: Bool[Tensor, " b"]
) -> Shaped[Tensor, "b ..."]:
    """The targets, hidden in some rows: -1, or NaN for floats."""
    hidden = float("nan") if target.is_floating_point() else -1
    return target.masked_fill(rows.view(-1, *[1] * (target.ndim - 1)), hidden)


@dataclass
class PairedBatch:
    """B paired samples.

    Attributes:
        inputs: one [B, ...] tensor per modality. Where a row lacks a modality, its tensor holds
            zeros and `valid` holds False.
        target: one of five kinds. "class": [B] int64 class index, -1 where unlabelled. "classes",
            where rows may have several: [B, K] int64, 1 for a class that the row has, 0 for one
            that it lacks, -1 where unknown. "sequence": [B, L] int64, a class for each position of
            the logits [B, L, K], -1 where unlabelled. "soft": [B, K] float probabilities of the
            classes, NaN where unlabelled. "values": [B] or [B, K] float values to regress, NaN
            where unlabelled.
        valid: one [B] bool tensor per modality. A modality without one is valid everywhere.
        index: [B] int64 position in the dataset, by which losses with a memory tell rows apart.
        group: [B] int64 subject.
        cached: precomputed teacher outputs by modality, used instead of running that teacher.
    """

    inputs: dict[str, Tensor]
    target: Shaped[Tensor, "b ..."]
    valid: dict[str, Bool[Tensor, " b"]] = field(default_factory=dict)
    index: Int64[Tensor, " b"] | None = None
    group: Int64[Tensor, " b"] | None = None
    cached: dict[str, Outputs] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.target)

    def target_of(self, modality: str) -> Shaped[Tensor, "b ..."]:
        """The targets, unlabelled where a row lacks the modality: nothing can be asked of it."""
        valid = self.valid.get(modality)
        if valid is None:
            return self.target
        return unlabelled_where(self.target, ~valid)

    def map(self, function) -> PairedBatch:
        """Apply a Tensor -> Tensor function to every tensor."""
        return PairedBatch(
            inputs={name: function(tensor) for name, tensor in self.inputs.items()},
            target=function(self.target),
            valid={name: function(tensor) for name, tensor in self.valid.items()},
            index=None if self.index is None else function(self.index),
            group=None if self.group is None else function(self.group),
            cached={name: outputs.map(function) for name, outputs in self.cached.items()},
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PairedBatch:
        """The batch on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PairedBatch:
        """The batch in page-locked memory, as a DataLoader with pin_memory=True asks for."""
        return self.map(Tensor.pin_memory)


@dataclass
class UnpairedBatch(PairedBatch):
    """B rows of the student and B rows of a teacher that are different samples.

    Row i of one modality has nothing to do with row i of another. `target`, `index` and `group`
    are the student's.

    Attributes:
        teacher_target: targets of the teacher's rows, of the kinds of `target`; None if unknown.
    """

    teacher_target: Shaped[Tensor, "b ..."] | None = None

    def map(self, function) -> UnpairedBatch:
        """Apply a Tensor -> Tensor function to every tensor."""
        theirs = None if self.teacher_target is None else function(self.teacher_target)
        return UnpairedBatch(**vars(super().map(function)), teacher_target=theirs)


# Not frozen, nor those below: Lightning, Fabric and FSDP walk through a batch and put converted
# tensors back by assignment.
register_dataclass(PairedBatch)
register_dataclass(UnpairedBatch)


@dataclass(frozen=True)
class Spec:
    """The widths that a loss needs before it can create its parameters.

    Attributes:
        dim: width D of the embedding.
        hidden: shape of each hidden tensor without its batch axis.
    """

    dim: int
    hidden: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, outputs: Outputs) -> Spec:
        """The widths of these outputs."""
        shapes = {name: tuple(tensor.shape[1:]) for name, tensor in outputs.hidden.items()}
        return cls(outputs.embedding.shape[-1], shapes)


@dataclass
class StepOutput:
    """What a Distiller returns for one batch.

    Attributes:
        loss: scalar to call `.backward()` on.
        terms: each part of the loss by name, detached and unweighted, for logging.
        student: the student's outputs.
        teachers: each teacher's outputs by modality.
    """

    loss: Float[Tensor, ""]
    terms: dict[str, Tensor]
    student: Outputs
    teachers: dict[str, Outputs]


register_dataclass(StepOutput)


@runtime_checkable
class Encoder(Protocol):
    """Any `nn.Module` with a modality, the width of its embedding, and `forward(x) -> Outputs`."""

    modality: str
    dim: int

    def __call__(self, x: Tensor) -> Outputs: ...

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...


class EncoderModule(torch.nn.Module):
    """An encoder as a type checker sees it: an `nn.Module` with what `Encoder` asks for.

    `create_encoder` says that it returns one. At run time any module with these attributes will
    do, and no encoder has to inherit from this class.

    Attributes:
        modality: the modality whose tensors it takes.
        dim: width D of its embedding.
    """

    modality: str
    dim: int

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Outputs: ...
