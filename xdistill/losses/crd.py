"""Contrastive representation distillation."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.losses.parts.crd_memory import Keys
from xdistill.losses.parts.log_mean_exp import log_mean_exp
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.memory_loss import Form, MemoryLoss
from xdistill.losses.parts.options import require_positive
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import masked_mean
from xdistill.registry import register_loss


def crd(
    positive: Float[Tensor, " b"],
    negative: Float[Tensor, "b m"],
    log_mean: float | Float[Tensor, ""],
    valid: Bool[Tensor, " b"] | None = None,
    counted: Bool[Tensor, "b m"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over anchors of −log h(positive) − Σ_k log(1 − h(negative_k)), one direction.

    h(u) = (e^u/Z) / (e^u/Z + K/N) with u = cosine / temperature (Tian et al., ICLR 2020). Z
    is N times the mean of e^u, so that N cancels: h(u) = sigmoid(u − log mean e^u − log K).

    Args:
        positive: scores u of each anchor with its own key.
        negative: scores u with the keys of other rows.
        log_mean: log of the mean of e^u over keys, a constant.
        valid: [B] the anchors that count.
        counted: which negatives exist, all of them when None; K is their number.
    """
    keep = row_mask(valid, positive)
    counted = torch.ones_like(negative, dtype=torch.bool) if counted is None else counted
    log_k = counted.sum(dim=1).clamp(min=1).to(positive.dtype).log()  # [B]
    attract = F.softplus(-(positive - log_mean - log_k))
    repel = F.softplus(negative - log_mean - log_k[:, None])
    repel = torch.where(counted, repel, torch.zeros_like(repel)).sum(dim=1)
    return masked_mean(attract + repel, keep)


def log_mean_of_keys(keys: Keys, temperature: float, keep: Bool[Tensor, " b"]) -> Float[Tensor, ""]:
    """log of the mean of e^(cosine / temperature) over the pairs that count; 0 without any."""
    scores = torch.cat([keys.positive[:, None], keys.negative], dim=1).detach() / temperature
    counted = torch.cat([keep[:, None], keep[:, None] & keys.counted], dim=1)
    return log_mean_exp(scores, counted)


@register_loss("crd")
class CRD(MemoryLoss):
    """Distinguish a row's own key from many others in a memory of the other modality, both ways.

    The memory is updated after the loss, in training mode only. The normaliser is estimated on the
    first training batch and kept in the state_dict, as the memory is. Negatives are drawn from
    torch's global generator. On several processes the queue holds the rows of all of them; the
    slots of "index" are updated by the rows of their own process only. How this memory differs from
    that of `Loss.keeps_memory`: `memory_loss.MemoryLoss`.

    Args:
        form: "index" holds one slot for each training row, as published, and needs `index` at each
            call; "queue" holds the last embeddings and needs none. None takes "index" where
            num_samples is given to `bind` or the constructor, else "queue".
        num_negatives: K, at most num_samples − 1; the length of the queue.
        temperature: divides the cosines.
        momentum: what a slot keeps of itself when its row is seen again.
        dim: width of the shared space, reached by linear projectors; None compares the embeddings
            as they are.
        num_samples: number of training rows N.
        memory_map: folder for the slots of "index" where memory does not hold them: 2·N·D floats on
            disk. What that costs, and when a folder is in use: `mapped_memory.MappedMemory`.
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
        form: Form | None = None,
        num_negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        dim: int | None = 128,
        num_samples: int | None = None,
        memory_map: str | Path | None = None,
    ):
        super().__init__(form, num_negatives, momentum, dim, num_samples, memory_map)
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature
        self.register_buffer("log_mean", torch.zeros(2))
        self.register_buffer("has_mean", torch.zeros((), dtype=torch.bool))

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        memory = self.memory_for(student.embedding.shape[1])
        memory.check(index)
        keep = row_mask(valid, student.embedding)
        s = unit_rows(zero_rows(student.embedding, keep))
        t = unit_rows(zero_rows(teacher.embedding, keep))
        both = memory.keys(s, t, keep, index)
        means = self._normaliser(both, keep)
        value = sum(
            crd(
                keys.positive / self.temperature,
                keys.negative / self.temperature,
                mean,
                keep,
                keys.counted,
            )
            for keys, mean in zip(both, means, strict=True)
        )
        if self.training:
            memory.update(s, t, keep, index)
        return value

    @torch.no_grad()
    def _normaliser(self, both: tuple[Keys, Keys], keep: Tensor) -> Float[Tensor, " 2"]:
        now = torch.stack([log_mean_of_keys(keys, self.temperature, keep) for keys in both])
        means = torch.where(self.has_mean, self.log_mean.to(now.dtype), now)
        if self.training:
            known = keep.any() & ~means.isnan().any()  # the constant of a batch of NaN would stay
            self.log_mean.copy_(torch.where(known, means, self.log_mean.to(now.dtype)))
            self.has_mean.logical_or_(known)
        return means
