"""The memories from which CRD takes keys: one slot for each training row, or a queue."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.memory import MemoryBank

ROWS_AT_ONCE = 2**16
"""Number of rows that are initialised together."""


class Keys(NamedTuple):
    """Scores of B anchors with their keys in the other modality: cosines, or those of a critic.

    Attributes:
        positive: with the key of the same row.
        negative: with M keys of other rows.
        counted: which of the negatives exist.
    """

    positive: Float[Tensor, " b"]
    negative: Float[Tensor, "b m"]
    counted: Bool[Tensor, "b m"]


class IndexMemory(nn.Module):
    """A running mean of every training row's embedding, for both modalities (the paper's banks).

    2·N·D floats. Negatives are K rows, drawn again at each step by `torch.randint`; when K reaches
    N − 1 they are all other rows, and nothing is drawn. One draw of offsets within the dataset
    serves all anchors: each anchor's negatives are uniform over the other rows, and the value does
    not depend on the order of the batch.

    The banks may be on another device than the anchors: rows are looked up where the bank is.

    Args:
        num_samples: training rows N, at least 2.
        dim: width D of the embeddings.
        num_negatives: K, cut to N − 1.
        momentum: what a slot keeps of itself when its row is seen again.
    """

    student: Tensor
    teacher: Tensor

    def __init__(self, num_samples: int, dim: int, num_negatives: int, momentum: float):
        super().__init__()
        if num_samples < 2:
            raise ValueError(
                f"a memory of training rows needs num_samples of at least 2, got {num_samples}"
            )
        self.dim = dim
        self.num_samples = num_samples
        self.num_negatives = min(num_negatives, num_samples - 1)
        self.momentum = momentum
        self.make_banks()

    def make_banks(self) -> None:
        """Set `student` and `teacher`, [N, D] of random rows."""
        self.register_buffer("student", fill(torch.empty(self.num_samples, self.dim)))
        self.register_buffer("teacher", fill(torch.empty(self.num_samples, self.dim)))

    def check(self, index: Int64[Tensor, " b"] | None) -> None:
        """Refuse a missing index and, on the CPU, one outside the dataset."""
        if index is None:
            raise ValueError(
                "a memory with one slot for each training row needs index, got None; pass the "
                'batch\'s positions in the dataset, or create the loss with form="queue"'
            )
        if index.device.type == "cpu" and not torch.compiler.is_compiling() and len(index):
            low, high = int(index.min()), int(index.max())
            if low < 0 or high >= self.num_samples:
                raise ValueError(
                    f"the memory was made for {self.num_samples} rows, index holds "
                    f"{low if low < 0 else high}; bind it with num_samples of the training set"
                )

    def keys(
        self,
        s: Float[Tensor, "b d"],
        t: Float[Tensor, "b d"],
        keep: Bool[Tensor, " b"],
        index: Int64[Tensor, " b"] | None,
        critic: Float[Tensor, "d d"] | None = None,
    ) -> tuple[Keys, Keys]:
        """Student anchors with the teacher's bank, teacher anchors with the student's.

        Args:
            critic: a matrix W, for scores sᵀWt in place of the inner product.
        """
        assert index is not None  # `check` has refused it
        s, t = (s, t) if critic is None else (s @ critic, t @ critic.T)
        slots = (index[:, None] + self._offsets(index.device)) % self.num_samples  # [B, 1 + K]
        counted = torch.ones_like(slots[:, 1:], dtype=torch.bool)
        cosines = (self._cosines(s, self.teacher, slots), self._cosines(t, self.student, slots))
        ours, theirs = (Keys(cosine[:, 0], cosine[:, 1:], counted) for cosine in cosines)
        return ours, theirs

    def _offsets(self, device: torch.device) -> Int64[Tensor, " k"]:
        if self.num_negatives == self.num_samples - 1:
            return torch.arange(self.num_samples, device=device)
        drawn = torch.randint(1, self.num_samples, (self.num_negatives,), device=device)
        return torch.cat([drawn.new_zeros(1), drawn])

    def _cosines(self, anchor: Tensor, bank: Tensor, slots: Tensor) -> Float[Tensor, "b k"]:
        if len(bank) <= 4 * slots.shape[1]:
            # Most of the bank is needed: one product is cheaper than B·K copied rows. It is copied
            # because the backward pass needs these rows after `update` has overwritten the bank.
            return (anchor @ bank.to(anchor, copy=True).T).gather(1, slots)
        return torch.einsum("bkd,bd->bk", bank[slots.to(bank.device)].to(anchor), anchor)

    @torch.no_grad()
    def update(
        self,
        s: Float[Tensor, "b d"],
        t: Float[Tensor, "b d"],
        keep: Bool[Tensor, " b"],
        index: Int64[Tensor, " b"] | None,
    ) -> None:
        """Move the slots of the rows that count. A row that a batch holds twice moves once."""
        assert index is not None  # `check` has refused it
        keep = keep & ~(s.isnan().any(dim=1) | t.isnan().any(dim=1))  # NaN would stay for good
        for bank, rows in ((self.student, s), (self.teacher, t)):
            place, counts = index.to(bank.device), keep.to(bank.device)
            old = bank[place]
            new = unit_rows(self.momentum * old + (1 - self.momentum) * rows.to(old))
            bank.index_copy_(0, place, torch.where(counts[:, None], new, old))


def fill(bank: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The bank itself, filled in place with random rows of length one, a part at a time."""
    for part in bank.split(ROWS_AT_ONCE):
        part.copy_(unit_rows(torch.randn(part.shape)))
    return bank


class QueueMemory(nn.Module):
    """The last Q embeddings of both modalities. The positive is the row's own pair of this batch.

    Negatives are the queue and the other rows of the batch. Keys carry no gradient, as in the
    banks. Earlier embeddings of the anchor's own row are left out when `index` is given; without
    it, only a queue far shorter than the dataset makes them rare.

    Args:
        length: Q.
        dim: width D of the embeddings.
    """

    def __init__(self, length: int, dim: int):
        super().__init__()
        self.dim = dim
        self.bank = MemoryBank(length, 2 * dim)  # [student, teacher] side by side

    def check(self, index: Tensor | None) -> None:
        """Accept any index, None too: the queue needs none."""

    def keys(
        self,
        s: Float[Tensor, "b d"],
        t: Float[Tensor, "b d"],
        keep: Bool[Tensor, " b"],
        index: Int64[Tensor, " b"] | None,
        critic: Float[Tensor, "d d"] | None = None,
    ) -> tuple[Keys, Keys]:
        """Student anchors with teacher keys, teacher anchors with student keys.

        Args:
            critic: a matrix W, for scores sᵀWt in place of the inner product.
        """
        rows = len(keep)
        other = ~torch.eye(rows, dtype=torch.bool, device=keep.device) & keep[None, :]
        queued = self.bank.occupied.expand(rows, -1)
        if index is not None:
            queued = queued & (self.bank.indices != index[:, None])
        counted = torch.cat([other, queued], dim=1)  # [B, B + Q]
        old_s, old_t = self.bank.keys.to(s.dtype).split(self.dim, dim=1)
        ours, theirs = (s, t) if critic is None else (s @ critic, t @ critic.T)
        return _keys(ours, t, old_t, counted), _keys(theirs, s, old_s, counted)

    @torch.no_grad()
    def update(
        self,
        s: Float[Tensor, "b d"],
        t: Float[Tensor, "b d"],
        keep: Bool[Tensor, " b"],
        index: Int64[Tensor, " b"] | None,
    ) -> None:
        """Enqueue the rows that count."""
        self.bank.enqueue(torch.cat([s, t], dim=1), indices=index, valid=keep)


def _keys(
    anchor: Float[Tensor, "b d"],
    key: Float[Tensor, "b d"],
    queue: Float[Tensor, "q d"],
    counted: Bool[Tensor, "b n"],
) -> Keys:
    key = key.detach()
    every = torch.cat([key, queue])  # a copy: `update` overwrites the queue before the backward
    return Keys((anchor * key).sum(dim=1), anchor @ every.T, counted)
