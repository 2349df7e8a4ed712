"""A trained student, its nights, and what the context of a night adds to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.data.adapters.nights import night_and_epoch
from xdistill.data.paired import PairedDataset
from xdistill.data.rows import stack_rows
from xdistill.metrics import score
from xdistill.sleep.context.head import ContextHead, staged, train_head
from xdistill.sleep.context.hmm import Hmm, fit_hmm, smooth, tuned
from xdistill.sleep.context.sequence import NightRows
from xdistill.sleep.model import Context

Wanted = Literal["none", "hmm", "both", "causal"]
TEACHER = "eeg"
BATCH = 64

EPOCH, HMM, HEAD, UNTAUGHT_HEAD = "epoch", "hmm", "head", "head, labels alone"
"""The student alone, smoothed, with a head, and with one that no teacher taught."""

Found = Mapping[str, Float[Tensor, "e k"]]
"""Probabilities by night."""


class ContextOptions(NamedTuple):
    """How the context over a night is made.

    Attributes:
        wanted: none, the smoother alone, a head in both directions, or a causal one.
        distil: weight of the teacher's probabilities as a target of the head.
        epochs: of a head's training.
        weighted: all stages count the same, in the student and in the head.
        seed: of the head.
    """

    wanted: Wanted
    distil: float
    epochs: int
    weighted: bool
    seed: int

    @property
    def causal(self) -> bool:
        """Whether no later epoch may be used."""
        return self.wanted == "causal"


class InContext(NamedTuple):
    """A student with each context, on held-out nights.

    Attributes:
        test: probabilities of the test nights, by context.
        val_kappa: Cohen's kappa of all validation epochs, by context; it chooses.
        context: what the saved student does.
        head: its network, if it has one.
        chosen: which of `test` is the saved student's.
    """

    test: Mapping[str, Found]
    val_kappa: Mapping[str, float]
    context: Context
    head: ContextHead | None
    chosen: str


@torch.no_grad()
def night_rows(
    part: PairedDataset,
    encoder: nn.Module,
    modality: str,
    lengths: Mapping[str, int],
    subject: Mapping[str, str],
) -> list[NightRows]:
    """What a student says of the nights of a part, each on its own grid.

    Epochs that are not among the rows (without film, or left out by their marks) are not valid.
    """
    plain = part.replace(transforms={})
    device = next(encoder.parameters()).device
    encoder.eval()
    made = []
    for some in torch.arange(len(plain)).split(BATCH):
        x = stack_rows(modality, [plain.read(modality, row) for row in some.tolist()])
        outputs = encoder(x.to(device))
        made.append(torch.cat([outputs.embedding, outputs.logits], dim=1).float().cpu())
    rows = torch.cat(made)
    teacher = _teacher(plain)
    places: dict[str, list[tuple[int, int]]] = {}
    for row, name in enumerate(plain.ids):
        night, epoch = night_and_epoch(name)
        places.setdefault(night, []).append((row, epoch))
    return [
        _night(night, subject[night], lengths[night], places[night], rows, plain.target, teacher)
        for night in sorted(places)
    ]


def _night(
    name: str,
    subject: str,
    length: int,
    places: Sequence[tuple[int, int]],
    rows: Tensor,
    target: Tensor,
    teacher: Tensor | None,
) -> NightRows:
    own, epochs = (torch.tensor(one) for one in zip(*places, strict=True))
    seen = torch.zeros(length, rows.shape[1])
    seen[epochs] = rows[own]
    valid = torch.zeros(length, dtype=torch.bool)
    valid[epochs] = True
    stages = torch.full((length,), -1)
    stages[epochs] = target[own]
    told = None
    if teacher is not None:
        told = torch.full((length, teacher.shape[1]), torch.nan)
        told[epochs] = teacher[own]
    return NightRows(name, subject, seen, valid, stages, told)


def _teacher(part: PairedDataset) -> Float[Tensor, "n k"] | None:
    cached = part.cached.get(TEACHER)
    if cached is None or cached.logits is None:
        return None
    has = part.rows_with(TEACHER)[:, None]
    return torch.where(has, cached.logits.float().softmax(dim=1), torch.nan)


def in_context(
    train: Sequence[NightRows],
    val: Sequence[NightRows],
    test: Sequence[NightRows],
    truth: Sequence[NightRows],
    classes: int,
    options: ContextOptions,
) -> InContext:
    """Fit every context on training nights, choose on validation, and stage the test nights.

    Args:
        train: nights with the labels that the student saw, and its teacher's answers.
        val: nights with labels.
        test: nights to stage.
        truth: training nights with the stages that transitions are counted in: labels, or the
            teacher's answers where there are none.
        classes: number of stages K.
        options: how the contexts are made.
    """
    val_found = {EPOCH: [night.probabilities(classes) for night in val]}
    test_found = {EPOCH: [night.probabilities(classes) for night in test]}
    hmm: Hmm | None = None
    heads: dict[str, ContextHead] = {}
    if options.wanted != "none":
        hmm = fit_hmm(truth, classes, balanced=options.weighted)
        hmm = tuned(hmm, val, classes, causal=options.causal)
        for found, nights in ((val_found, val), (test_found, test)):
            found[HMM] = [
                smooth(hmm, night.probabilities(classes), night.valid, causal=options.causal)
                for night in nights
            ]
    if options.wanted in ("both", "causal"):
        taught = options.distil > 0 and any(night.teacher is not None for night in train)
        variants = {HEAD: options.distil} | ({UNTAUGHT_HEAD: 0.0} if taught else {})
        if not any(bool((night.target >= 0).any()) for night in train):
            variants.pop(UNTAUGHT_HEAD, None)
        for name, distil in variants.items():
            head = heads[name] = train_head(
                train,
                val,
                classes,
                causal=options.causal,
                distil=distil,
                weighted=options.weighted,
                epochs=options.epochs,
                seed=options.seed,
            )
            for found, nights in ((val_found, val), (test_found, test)):
                found[name] = [staged(head, night.rows, night.valid) for night in nights]
    kappa = {name: _kappa(val, found, classes) for name, found in val_found.items()}
    contexts = [name for name in kappa if name != EPOCH] or [EPOCH]
    chosen = max(contexts, key=lambda name: kappa[name])
    context = Context(
        "none" if chosen == EPOCH else "hmm" if chosen == HMM else "head",
        causal=options.causal,
        hmm=hmm,
        options=heads[chosen].options if chosen in heads else {},
    )
    return InContext(
        {name: _by_night(test, found) for name, found in test_found.items()},
        kappa,
        context,
        heads.get(chosen),
        chosen,
    )


def _by_night(nights: Sequence[NightRows], found: Sequence[Tensor]) -> Found:
    pairs = zip(nights, found, strict=True)
    return {night.night: torch.where(night.valid[:, None], p, torch.nan) for night, p in pairs}


def _kappa(nights: Sequence[NightRows], found: Sequence[Tensor], classes: int) -> float:
    p, target = torch.cat(list(found)), torch.cat([night.target for night in nights])
    known = torch.cat([night.valid for night in nights]) & (target >= 0)
    value = score(p[known].argmax(dim=1), target[known], classes).kappa
    return value if np.isfinite(value) else 0.0


def with_teachers_stages(nights: Sequence[NightRows]) -> list[NightRows]:
    """The nights with the teacher's likeliest stage wherever there is no label."""
    return [night._replace(target=_stages(night)) for night in nights]


def _stages(night: NightRows) -> Tensor:
    if night.teacher is None:
        return night.target
    told = ~night.teacher.isnan().any(dim=1) & (night.target < 0)
    return torch.where(told, night.teacher.nan_to_num().argmax(dim=1), night.target)


def described(result: InContext) -> dict[str, Any]:
    """What results.json keeps of the choice."""
    hmm = result.context.hmm
    return {
        "chosen": result.chosen,
        "val_kappa": dict(result.val_kappa),
        "causal": result.context.causal,
        "trust": None if hmm is None else hmm.trust,
    }
