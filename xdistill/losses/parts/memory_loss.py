"""A loss with a memory of both modalities' embeddings, as in CRD."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from xdistill.losses.parts.crd_memory import IndexMemory, QueueMemory
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.mapped_memory import MappedMemory
from xdistill.losses.parts.options import require_counts, require_share
from xdistill.registry import create_projector

Form = Literal["index", "queue"]


class MemoryLoss(Loss):
    """Makes linear projectors and the memory in `bind`; a subclass contrasts with its keys.

    This memory is not that of `Loss.keeps_memory`, which holds outputs of the teacher and is filled
    from a slow copy of one that trains. As published, this one holds *projected* embeddings of both
    networks, which only the loss itself has, and smooths them by averaging in its slots. So the
    subclass updates it in `forward`, in training mode, with frozen and training teachers alike.

    Args:
        form: "index" holds one slot for each training row, "queue" the last embeddings. None takes
            "index" where the number of training rows is known, else "queue".
        num_negatives: K, at most num_samples − 1; the length of the queue.
        momentum: what a slot keeps of itself when its row is seen again.
        dim: width of the shared space, reached by linear projectors; None compares the embeddings
            as they are.
        num_samples: number of training rows N.
        memory_map: folder for the slots of "index"; None keeps them in memory.
    """

    def __init__(
        self,
        form: Form | None,
        num_negatives: int,
        momentum: float,
        dim: int | None,
        num_samples: int | None,
        memory_map: str | Path | None,
    ):
        super().__init__()
        require_counts(self.label, num_negatives=num_negatives, dim=dim, num_samples=num_samples)
        if form not in (None, "index", "queue"):
            raise ValueError(f'{self.label}: form must be "index", "queue" or None, got {form!r}')
        if memory_map is not None and form == "queue":
            raise ValueError(
                f'{self.label}: memory_map holds the slots of form="index"; a queue is small and '
                "stays in memory, so leave out one of the two"
            )
        require_share(self.label, momentum=momentum)
        self.form: Form | None = form if memory_map is None else "index"
        self.num_negatives = num_negatives
        self.momentum = momentum
        self.dim = dim
        self.num_samples = num_samples
        self.memory_map = memory_map
        self.memory: IndexMemory | QueueMemory | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.student_projector is None and self.dim is not None:
            self.attach(
                create_projector("linear", width(student), self.dim),
                create_projector("linear", width(teacher), self.dim),
            )
        super().bind(student, teacher, num_classes, num_samples)
        if self.memory is None:
            self.num_samples = self.num_samples or num_samples
            self.memory = self._make_memory(self.shared_width(width(student)))
        self.slot_per_row = not isinstance(self.memory, QueueMemory)
        return self

    def _make_memory(self, dim: int) -> IndexMemory | QueueMemory:
        form = self.form or ("queue" if self.num_samples is None else "index")
        if form == "queue":
            rows = self.num_samples
            length = self.num_negatives if rows is None else min(self.num_negatives, rows)
            return QueueMemory(length, dim)
        if self.num_samples is None:
            raise ValueError(
                f'{self.label} with form="index" needs num_samples, got None; pass it to bind or '
                'to the constructor, or take form="queue"'
            )
        options = (self.num_samples, dim, self.num_negatives, self.momentum)
        if self.memory_map is None:
            return IndexMemory(*options)
        return MappedMemory(*options, folder=self.memory_map)

    def memory_for(self, dim: int) -> IndexMemory | QueueMemory:
        """The memory; refuse embeddings of another width than it was made for."""
        if self.memory is None:
            raise ValueError(
                f"{self.label} has no memory yet; call loss.bind(student, teacher, num_samples=...)"
            )
        if self.memory.dim != dim:
            raise ValueError(
                f"{self.label} was bound for embeddings of width {self.memory.dim}, got {dim}; "
                "attach the projectors before bind"
            )
        return self.memory
