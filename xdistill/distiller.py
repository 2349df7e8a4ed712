"""Student, teachers, projectors and losses in one module: a batch in, a loss out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.roles import by_name, check_encoder, losses_by_name, refuse_own_teacher
from xdistill.losses.parts.slow_teachers import memory_losses, slow_copies
from xdistill.losses.parts.untrained import UntrainedParameters
from xdistill.memory import EMA
from xdistill.precomputed_teacher import (
    compares,
    only_cached,
    precomputed_teacher,
    require_embedding,
    require_teacher,
)
from xdistill.registry import create_projector
from xdistill.types import (
    Outputs,
    PairedBatch,
    Spec,
    StepOutput,
    UnpairedBatch,
    unlabelled_where,
)
from xdistill.valid_rows import blank_outputs, on_valid_rows


class Distiller(nn.Module):
    """Trains a student on its own modality with the help of teachers on others.

    It contains no training loop and handles no devices or files: `fit`, or a loop of your own,
    calls it.

        step = distiller(batch)
        step.loss.backward()

    Args:
        student: an encoder (see `xdistill.types.Encoder`).
        teacher: an encoder, or one per name. A name is the key of the teacher's input in the batch;
            where the batch has no input of that name, the teacher gets the input of its own
            `modality`, so that several teachers can share one. A modality's name stands for a
            teacher whose outputs the batches hold (`cached`) and which is not here. None is for a
            student that learns alone; if the loss compares with a teacher, it takes the outputs
            that the batches hold of one.
        loss: a loss, or one per teacher under the same names. The losses of several teachers are
            summed, so the task loss belongs in one of them.
        projector: name of the projector that maps both embeddings into a shared space, one pair for
            all losses that compare embeddings, except those of another width (`SACD(dim=64)`). With
            None a loss compares the embeddings as they are, or makes projectors of its own if it
            has a `dim` or the widths differ.
        dim: width of that space; None takes the student's.
        train_teacher: False keeps every teacher frozen and in eval mode, True trains them, a
            regular expression trains the parameters whose names it matches (`re.search`).
        teacher_loss: task loss of a training teacher, besides the mutual losses; None takes the
            cross-entropy.
        num_classes: number of classes, for losses with a classifier; None takes the student's.
        num_samples: number of training rows, for losses with a memory slot per row.
        example: any batch, for losses that make adapters between hidden layers: the encoders run on
            it once, in eval mode, to find the shapes of those layers. Without a teacher, losses on
            embeddings learn from it the width of the outputs that the batches hold.

    Raises:
        ValueError: losses and teachers under different names, an encoder without modality or dim,
            a loss that compares with a teacher where there is none, or a regular expression that
            matches no parameter.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | Mapping[str, nn.Module] | str | None,
        loss: Loss | Mapping[str, Loss],
        *,
        projector: str | None = None,
        dim: int | None = None,
        train_teacher: bool | str = False,
        teacher_loss: Loss | None = None,
        num_classes: int | None = None,
        num_samples: int | None = None,
        example: PairedBatch | None = None,
    ):
        super().__init__()
        if isinstance(teacher, str) or (teacher is None and example and compares(loss)):
            teacher = precomputed_teacher(example, teacher)
        teachers = by_name(teacher)
        losses = losses_by_name(loss, teachers)
        for role, encoder in {"student": student, **teachers}.items():
            check_encoder(role, encoder)
        self.student = student
        self.teachers = nn.ModuleDict(teachers)
        self.losses = nn.ModuleDict(losses)
        self.num_classes = _num_classes(student) if num_classes is None else num_classes
        self.train_teacher = train_teacher
        self.teacher_loss = CrossEntropy() if teacher_loss is None else teacher_loss
        refuse_own_teacher("teacher", "it is the teacher_loss", self.teacher_loss)
        self._freeze()
        student_spec = self._spec(student, str(student.modality), example)
        for name, one in losses.items():
            teacher_spec = student_spec
            if name in teachers:
                teacher_spec = self._spec(teachers[name], name, example)
                require_embedding(name, one, teacher_spec.dim)
            else:
                require_teacher(one)
            self._bind(one, student_spec, teacher_spec, projector, dim, num_samples)
            one.parameters_read = None  # `untrained` sees more, and knows distiller.parameters()
        self.untrained = UntrainedParameters()
        self.slow_teachers = nn.ModuleDict()
        for name, one in teachers.items():
            if _trains_any(one) and (keepers := memory_losses(losses[name])):
                self.slow_teachers[name] = slow_copies(one, keepers)
                for keeper in keepers:
                    keeper.track_teacher()
        self.train(self.training)

    def _named_losses(self) -> list[tuple[str, Loss]]:
        return [(name, loss) for name, loss in self.losses.items() if isinstance(loss, Loss)]

    def _bind(
        self,
        loss: Loss,
        student_spec: Spec,
        teacher_spec: Spec,
        projector: str | None,
        dim: int | None,
        num_samples: int | None,
    ) -> None:
        shared = dim or student_spec.dim
        wanting = [
            leaf
            for leaf in loss.leaves()
            if leaf.shared_space and leaf.dim in (None, shared) and leaf.student_projector is None
        ]
        if projector is not None and wanting:
            pair = [
                create_projector(projector, spec.dim, shared)
                for spec in (student_spec, teacher_spec)
            ]
            for leaf in wanting:
                leaf.attach(*pair)
        loss.bind(student_spec, teacher_spec, self.num_classes, num_samples)

    @staticmethod
    def _spec(encoder: nn.Module, name: str, example: PairedBatch | None) -> Spec:
        """Width of an encoder's embedding, and with an example the shapes of its hidden tensors."""
        if example is None:
            return Spec(_dim(encoder))
        for key in (name, str(encoder.modality)):
            if key in example.cached:
                return Spec.of(example.cached[key])
        modality = _input_of(name, encoder, example.inputs)
        return Spec.of(blank_outputs(encoder, _inputs(example, modality, "example's reader")))

    def _freeze(self) -> None:
        for name, teacher in self.teachers.items():
            for parameter_name, parameter in teacher.named_parameters():
                parameter.requires_grad_(self._trains(parameter_name))
            if isinstance(self.train_teacher, str) and not _trains_any(teacher):
                known = [own for own, _ in teacher.named_parameters()]
                raise ValueError(
                    f"train_teacher={self.train_teacher!r} matches no parameter of teacher "
                    f"{name!r}; its parameters are {known[:8]}{' …' if len(known) > 8 else ''}"
                )

    def _trains(self, parameter_name: str) -> bool:
        if isinstance(self.train_teacher, bool):
            return self.train_teacher
        return re.search(self.train_teacher, parameter_name) is not None

    def train(self, mode: bool = True) -> Distiller:
        """Train mode for the student and the losses; a frozen (part of a) teacher stays in eval."""
        super().train(mode)
        for teacher in self.teachers.values():
            if self.train_teacher is True:
                continue
            for module in teacher.modules():
                own = list(module.parameters(recurse=False))
                module.training = mode and any(parameter.requires_grad for parameter in own)
        return self

    def forward(self, batch: PairedBatch) -> StepOutput:
        """The loss of a batch. Rows without the student's modality are left out of its losses.

        Raises:
            ValueError: the batch lacks the student's modality or a teacher's.
        """
        if self.training:
            self.untrained.look(self.student, self.losses)
        if isinstance(batch, UnpairedBatch):
            self._refuse_pairs()
        own = str(self.student.modality)
        has = batch.valid.get(own)
        student = on_valid_rows(self.student, _inputs(batch, own, "student"), has)
        target = batch.target_of(own)
        teachers: dict[str, Outputs] = {}
        terms: dict[str, Tensor] = {}
        total = student.embedding.new_zeros((), dtype=torch.float32)
        if has is not None and not bool(has.any()):  # keeps a graph for backward()
            total = total + 0 * sum(p.sum() for p in self.student.parameters() if p.requires_grad)
        for name, loss in self._named_losses():
            valid, teacher = self._valid(name, batch), student
            if name in self.teachers:
                teacher = teachers[name] = self.teach(name, batch)
            elif compares(loss):
                (found, teacher) = only_cached(batch)
                teachers[found], valid = teacher, batch.valid.get(found)
            both = valid if has is None else has if valid is None else has & valid
            value = loss(student, teacher, target, valid=both, index=batch.index)
            total = total + value
            prefix = f"{name}/" if len(self.losses) > 1 else ""
            terms.update({prefix + term: value for term, value in loss.terms.items()})
            if name in self.teachers and _trains_any(self.teachers[name]):
                value = self._task(teacher, _teacher_target(name, batch), valid)
                total = total + value
                terms[f"teacher/{name}"] = value.detach()
        if self.training:
            self._remember(batch)
        return StepOutput(total, terms, student, teachers)

    def modalities_read(
        self, cached: Collection[str], inputs: Collection[str] = ()
    ) -> tuple[str, ...]:
        """The inputs that teachers read, each once, but of those whose outputs are cached."""
        read = {
            _input_of(name, one, inputs): None
            for name, one in self.teachers.items()
            if name not in cached and str(one.modality) not in cached
        }
        return tuple(read)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As of any module."""
        self.untrained.note_gradients(self.losses)
        super().zero_grad(set_to_none)

    def set_progress(
        self, step: int | float, total: int | float, steps_per_epoch: int | float = 1
    ) -> None:
        """Set how far training is, for the schedules of all losses; see `Loss.set_progress`."""
        for _, loss in self._named_losses():
            loss.set_progress(step, total, steps_per_epoch)
        self.teacher_loss.set_progress(step, total, steps_per_epoch)

    def _refuse_pairs(self) -> None:
        """Refuse losses that compare row by row where rows are different samples."""
        leaves = [leaf for _, loss in self._named_losses() for leaf in loss.leaves()]
        pairs = sorted({leaf.label for leaf in leaves if not (leaf.task or leaf.unpaired)})
        if pairs:
            raise ValueError(
                f"{', '.join(pairs)} compares a row of the student with the same row of the "
                "teacher, but the batch's rows are different samples (UnpairedBatch); take a loss "
                "on distributions (ucmkd, cmd) or batches of pairs (xd.paired_loader)"
            )

    def _task(self, teacher: Outputs, target: Tensor, valid: Tensor | None) -> Tensor:
        if valid is not None:
            target = unlabelled_where(target, ~valid)
        return self.teacher_loss(teacher, teacher, target)

    @torch.no_grad()
    def _remember(self, batch: PairedBatch) -> None:
        """Fill the memories of losses whose teacher trains; with a frozen one the losses do so."""
        losses = dict(self._named_losses())
        for name, copies in self.slow_teachers.items():
            x, valid = self._teacher_inputs(name, batch), self._valid(name, batch)
            for slow in copies.children():
                assert isinstance(slow, EMA)
                slow.update(self.teachers[name])
                outputs = on_valid_rows(slow, x, valid)
                for keeper in memory_losses(losses[name]):
                    if keeper.teacher_momentum == slow.momentum:
                        # A loss refuses classes of another kind; a hidden target stays hidden.
                        target = batch.target if keeper.reads else None
                        keeper.remember(outputs, target, valid=valid, index=batch.index)

    def teach(self, name: str, batch: PairedBatch) -> Outputs:
        """Outputs of a teacher for a batch: the cached ones, or its own for the valid rows.

        Raises:
            ValueError: the batch has no inputs for it, or cached outputs of one that trains.
        """
        teacher = self.teachers[name]
        trains = _trains_any(teacher)
        key = self._cached_key(name, batch)
        if key is not None:
            if trains:
                raise ValueError(
                    f"teacher {name!r} trains, but the batch holds cached outputs of it; give the "
                    "loader the dataset without the cache"
                )
            return batch.cached[key]
        x = self._teacher_inputs(name, batch)
        with torch.set_grad_enabled(torch.is_grad_enabled() and trains):
            return on_valid_rows(teacher, x, self._valid(name, batch))

    def _teacher_inputs(self, name: str, batch: PairedBatch) -> Tensor:
        modality = _input_of(name, self.teachers[name], batch.inputs)
        return _inputs(batch, modality, "teacher" if name == modality else f"{name!r} teacher")

    def _valid(self, name: str, batch: PairedBatch) -> Bool[Tensor, " b"] | None:
        """Which rows a teacher has: by its name, else by its modality."""
        if name in batch.valid or name in batch.inputs or name not in self.teachers:
            return batch.valid.get(name)
        return batch.valid.get(str(self.teachers[name].modality))

    def _cached_key(self, name: str, batch: PairedBatch) -> str | None:
        """Where the batch holds outputs of a teacher: under its name, or its modality's.

        Raises:
            ValueError: under a modality that several teachers read.
        """
        if name in batch.cached:
            return name
        modality = str(self.teachers[name].modality)
        if modality not in batch.cached:
            return None
        same = [own for own, one in self.teachers.items() if str(one.modality) == modality]
        if len(same) > 1:
            raise ValueError(
                f"the batch holds cached outputs of {modality!r}, which the teachers {same} all "
                "read; keep each teacher's outputs under its name (dataset.with_outputs), or none"
            )
        return modality


def _input_of(name: str, encoder: nn.Module, inputs: Collection[str]) -> str:
    """Which input an encoder reads: that of its name, else that of its modality."""
    return name if name in inputs else str(encoder.modality)


def _inputs(batch: PairedBatch, modality: str, role: str) -> Tensor:
    if modality not in batch.inputs:
        raise ValueError(
            f"the {role} needs modality {modality!r}, but the batch holds "
            f"{sorted(batch.inputs)} (and cached outputs of {sorted(batch.cached)})"
        )
    return batch.inputs[modality]


def _dim(encoder: nn.Module) -> int:
    return int(encoder.dim)  # type: ignore[arg-type]


def _num_classes(student: nn.Module) -> int | None:
    classes = getattr(student, "num_classes", None)
    return None if classes is None else int(classes)


def _teacher_target(name: str, batch: PairedBatch) -> Tensor:
    if not isinstance(batch, UnpairedBatch):
        return batch.target
    if batch.teacher_target is None:
        raise ValueError(
            f"teacher {name!r} trains, but the batch has no targets of its rows; give "
            "UnpairedBatch(teacher_target=…)"
        )
    return batch.teacher_target


def _trains_any(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
