"""Contrastive representation distillation."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.crd_memory import IndexMemory, Keys, QueueMemory
from xdistill.losses.loss import Loss, width
from xdistill.losses.masking import masked_mean, row_mask, zero_rows
from xdistill.losses.pairs import EXCLUDED
from xdistill.losses.unit_rows import unit_rows
from xdistill.registry import create_projector, register_loss


def crd(
    positive: Float[Tensor, " b"],
    negative: Float[Tensor, "b m"],
    log_mean: float | Float[Tensor, ""],
    valid: Bool[Tensor, " b"] | None = None,
    counted: Bool[Tensor, "b m"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over anchors of −log h(positive) − Σ_k log(1 − h(negative_k)), one direction.

    h(u) = (e^u/Z) / (e^u/Z + K/N) with u = cosine / tau (Tian et al., ICLR 2020). Z
    is N times the mean of e^u, so that N cancels: h(u) = sigmoid(u − log mean e^u − log K).

    Args:
        positive: scores u of each anchor with its own key.
        negative: scores u with the keys of other rows.
        log_mean: log of the mean of e^u over keys, a constant.
        valid: [B] the anchors that count.
        counted: the negatives that are there, all when None; K is their number.
    """
    keep = row_mask(valid, positive)
    counted = torch.ones_like(negative, dtype=torch.bool) if counted is None else counted
    log_k = counted.sum(dim=1).clamp(min=1).to(positive.dtype).log()  # [B]
    attract = F.softplus(-(positive - log_mean - log_k))
    repel = F.softplus(negative - log_mean - log_k[:, None])
    repel = torch.where(counted, repel, torch.zeros_like(repel)).sum(dim=1)
    return masked_mean(attract + repel, keep)


def log_mean_exp(keys: Keys, tau: float, keep: Bool[Tensor, " b"]) -> Float[Tensor, ""]:
    """log of the mean of e^(cosine / tau) over the pairs that count; 0 when there is none."""
    scores = torch.cat([keys.positive[:, None], keys.negative], dim=1).detach() / tau
    counted = torch.cat([keep[:, None], keep[:, None] & keys.counted], dim=1)
    total = scores.masked_fill(~counted, EXCLUDED).flatten().logsumexp(dim=0)
    mean = total - counted.sum().clamp(min=1).to(total.dtype).log()
    return torch.where(keep.any(), mean, torch.zeros_like(mean))


@register_loss("crd")
class CRD(Loss):
    """Tell a row's own key from many others in a memory of the other modality, both directions.

    The memory is updated after the loss, in training mode alone. The normaliser is estimated on the
    first training batch and kept in the state_dict, as the memory is. Negatives follow
    `torch.manual_seed`. On several processes the queue holds the rows of all, the slots
    of "index" move with the rows of their own process.

    Args:
        form: "index" holds one slot for each training row, as published, and needs `index` at each
            call; "queue" holds the last embeddings and needs none. None takes "index" where `bind`
            or the constructor learns num_samples, else "queue".
        num_negatives: K, at most num_samples − 1; the length of the queue.
        tau: temperature of the cosines.
        momentum: what a slot keeps of itself when its row is seen again.
        dim: width of the shared space, reached by linear projectors; None compares the embeddings
            as they are.
        num_samples: number of training rows N.
    """

    name = "crd"
    formula = "−log h(pair) − Σ_K log(1 − h(negative)), both ways"
    paper = "Tian et al., ICLR 2020"
    uses = ("index",)
    recommended_weight = 0.8
    log_mean: Tensor
    has_mean: Tensor

    def __init__(
        self,
        form: Literal["index", "queue"] | None = None,
        num_negatives: int = 16384,
        tau: float = 0.07,
        momentum: float = 0.5,
        dim: int | None = 128,
        num_samples: int | None = None,
    ):
        super().__init__()
        if form not in (None, "index", "queue"):
            raise ValueError(f'crd: form must be "index", "queue" or None, got {form!r}')
        self.form = form
        self.num_negatives = num_negatives
        self.tau = tau
        self.momentum = momentum
        self.dim = dim
        self.num_samples = num_samples
        self.memory: IndexMemory | QueueMemory | None = None
        self.register_buffer("log_mean", torch.zeros(2))
        self.register_buffer("has_mean", torch.zeros((), dtype=torch.bool))

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
        return self

    def _make_memory(self, dim: int) -> IndexMemory | QueueMemory:
        form = self.form or ("queue" if self.num_samples is None else "index")
        if form == "queue":
            rows = self.num_samples
            length = self.num_negatives if rows is None else min(self.num_negatives, rows)
            return QueueMemory(length, dim)
        if self.num_samples is None:
            raise ValueError(
                'crd with form="index" needs num_samples, got None; pass it to bind or to the '
                'constructor, or take form="queue"'
            )
        return IndexMemory(self.num_samples, dim, self.num_negatives, self.momentum)

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        memory = self._memory_for(student.embedding.shape[1])
        memory.check(index)
        keep = row_mask(valid, student.embedding)
        s = unit_rows(zero_rows(student.embedding, keep))
        t = unit_rows(zero_rows(teacher.embedding, keep))
        both = memory.keys(s, t, keep, index)
        means = self._normaliser(both, keep)
        value = sum(
            crd(keys.positive / self.tau, keys.negative / self.tau, mean, keep, keys.counted)
            for keys, mean in zip(both, means, strict=True)
        )
        if self.training:
            memory.update(s, t, keep, index)
        return value

    @torch.no_grad()
    def _normaliser(self, both: tuple[Keys, Keys], keep: Tensor) -> Float[Tensor, " 2"]:
        now = torch.stack([log_mean_exp(keys, self.tau, keep) for keys in both])
        means = torch.where(self.has_mean, self.log_mean.to(now.dtype), now)
        if self.training:
            self.log_mean.copy_(means)
            self.has_mean.logical_or_(keep.any())
        return means

    def _memory_for(self, dim: int) -> IndexMemory | QueueMemory:
        if self.memory is None:
            raise ValueError(
                "crd has no memory yet; call loss.bind(student, teacher, num_samples=...)"
            )
        if self.memory.dim != dim:
            raise ValueError(
                f"crd was bound for embeddings of width {self.memory.dim}, got {dim}; "
                "attach the projectors before bind"
            )
        return self.memory
