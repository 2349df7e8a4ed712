"""A network over the epochs of a night, on top of a student that sees one epoch at a time."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from xdistill.sleep.context.sequence import NightRows, class_counts

BATCH = 4
"""Nights of a step."""
LEAST_STEPS = 10
"""Steps of an epoch, at least: with few nights, each is shown several times, cut in other ways."""
PATIENCE = 10


class ContextHead(nn.Module):
    """A GRU over a night's epochs that corrects the student's log probabilities.

    It begins as the student's own answer and learns what to add. An epoch that the student does not
    see enters as zeros and a flag, so that the head knows that time has passed.

    Args:
        dim: width D of the student's embedding.
        classes: number of stages K.
        width: of the GRU, in each direction.
        causal: use no later epoch, as a live night needs it; else both directions.
        dropout: of the embedding and before the last layer.
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        width: int = 48,
        causal: bool = False,
        dropout: float = 0.3,
    ):
        super().__init__()
        self.options = {"dim": dim, "classes": classes, "width": width, "causal": causal}
        self.dim, self.classes, self.causal = dim, classes, causal
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("sd", torch.ones(dim))
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(dim, width)
        self.gru = nn.GRU(width + classes + 1, width, batch_first=True, bidirectional=not causal)
        self.add = nn.Linear(width if causal else 2 * width, classes)
        nn.init.zeros_(self.add.weight)
        nn.init.zeros_(self.add.bias)

    def forward(
        self, rows: Float[Tensor, "b e d"], valid: Bool[Tensor, "b e"]
    ) -> Float[Tensor, "b e k"]:
        """Log probabilities of every epoch.

        Args:
            rows: embedding and logits of the student.
            valid: which epochs it sees; a night that is shorter than others of the batch ends in
                epochs that are not, which reach no epoch before them.
        """
        seen = valid[..., None].to(rows.dtype)
        x = self.narrow(self.dropout((rows[..., : self.dim] - self.mean) / self.sd)).relu()
        own = rows[..., self.dim :].log_softmax(dim=2) * seen
        x = torch.cat([x * seen, own, seen], dim=2)
        lengths = _lengths(valid)
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        y, _ = nn.utils.rnn.pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        return (own + self.add(self.dropout(y))).log_softmax(dim=2)


def _lengths(valid: Bool[Tensor, "b e"]) -> Tensor:
    """[B] epochs up to the last valid one, at least 1."""
    place = torch.arange(1, valid.shape[1] + 1, device=valid.device)
    return (valid * place).amax(dim=1).clamp(min=1).cpu()


@torch.no_grad()
def staged(
    head: ContextHead, rows: Float[Tensor, "e d"], valid: Bool[Tensor, " e"]
) -> Float[Tensor, "e k"]:
    """Probabilities of a night's epochs."""
    head.eval()
    return head(rows[None], valid[None])[0].exp()


def train_head(
    train: Sequence[NightRows],
    val: Sequence[NightRows],
    classes: int,
    *,
    causal: bool = False,
    distil: float = 0.5,
    weighted: bool = False,
    epochs: int = 60,
    lr: float = 3e-3,
    seed: int = 0,
) -> ContextHead:
    """Train a head on whole nights of a frozen student.

    Args:
        train: nights with labels, or with a teacher's probabilities.
        val: nights with labels, on which the epoch is chosen.
        classes: number of stages K.
        causal: use no later epoch.
        distil: weight of the divergence from the teacher's probabilities, where a night has them.
        weighted: weigh labels so that all stages count the same.
        epochs: at most so many; training ends where validation has not improved for some.
        lr: peak learning rate.
        seed: of weights and order.

    Raises:
        ValueError: no epoch for training has a label or a teacher.
    """
    counts = class_counts(train, classes)
    taught = distil > 0 and any(night.teacher is not None for night in train)
    if not taught and not bool(counts.any()):
        raise ValueError("no epoch for training has a label or a teacher; give labels of some")
    weight = None
    if weighted:
        weight = torch.where(counts > 0, counts.sum() / (classes * counts.clamp(min=1)), 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dim = train[0].rows.shape[1] - classes
        head = ContextHead(dim, classes, causal=causal)
        known = torch.cat([night.rows[night.valid] for night in train])[:, :dim]
        head.mean.copy_(known.mean(dim=0))
        head.sd.copy_(known.std(dim=0, correction=0).clamp(min=1e-3))
        each = max(LEAST_STEPS, -(-len(train) // BATCH))
        steps = epochs * each
        optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
        best, kept, since = _val_loss(head, val), copy.deepcopy(head.state_dict()), 0
        for _ in range(epochs):
            head.train()
            for some in _orders(len(train), each):
                optimizer.zero_grad()
                loss = _loss(head, [train[at] for at in some.tolist()], distil, weight)
                loss.backward()
                nn.utils.clip_grad_norm_(head.parameters(), 5.0)
                optimizer.step()
                schedule.step()
            found, since = _val_loss(head, val), since + 1
            if found < best:
                best, kept, since = found, copy.deepcopy(head.state_dict()), 0
            if since >= PATIENCE:
                break
    head.load_state_dict(kept)
    return head.eval()


def _orders(nights: int, steps: int) -> list[Tensor]:
    """The nights of each step, all of them in turn."""
    rounds = -(-steps * BATCH // nights)
    order = torch.cat([torch.randperm(nights) for _ in range(rounds)])
    return list(order.split(BATCH)[:steps])


def _val_loss(head: ContextHead, nights: Sequence[NightRows]) -> float:
    """The log loss of validation nights; infinite where none has a label."""
    found = torch.cat([staged(head, night.rows, night.valid) for night in nights])
    target = torch.cat([night.target for night in nights])
    known = (target >= 0) & torch.cat([night.valid for night in nights])
    losses = -found[known].gather(1, target[known][:, None]).clamp(min=1e-6).log().flatten()
    return float(losses.mean()) if len(losses) else float("inf")


def _loss(
    head: ContextHead, nights: Sequence[NightRows], distil: float, weight: Tensor | None
) -> Float[Tensor, ""]:
    crops = [_cropped(night) for night in nights]
    pad = nn.utils.rnn.pad_sequence
    rows = pad([night.rows for night in crops], batch_first=True)
    valid = pad([night.valid for night in crops], batch_first=True)
    target = pad([night.target for night in crops], batch_first=True, padding_value=-1)
    found = head(rows, valid)
    known = valid & (target >= 0)
    loss = found.sum() * 0
    if bool(known.any()):
        loss = loss + F.nll_loss(found[known], target[known], weight)
    if distil > 0 and any(night.teacher is not None for night in crops):
        classes = found.shape[2]
        blank = [torch.full((len(night.rows), classes), torch.nan) for night in crops]
        told = [
            b if night.teacher is None else night.teacher
            for b, night in zip(blank, crops, strict=True)
        ]
        teacher = pad(told, batch_first=True, padding_value=torch.nan)
        has = valid & ~teacher.isnan().any(dim=2)
        if bool(has.any()):
            loss = loss + distil * F.kl_div(found[has], teacher[has], reduction="batchmean")
    return loss


def _cropped(night: NightRows) -> NightRows:
    """A random part of the night, at least half of it, so that no two epochs of training agree."""
    length = len(night.rows)
    size = int(torch.randint(max(1, length // 2), length + 1, ()))
    first = int(torch.randint(0, length - size + 1, ()))
    part = slice(first, first + size)
    teacher = None if night.teacher is None else night.teacher[part]
    return night._replace(
        rows=night.rows[part],
        valid=night.valid[part],
        target=night.target[part],
        teacher=teacher,
    )
