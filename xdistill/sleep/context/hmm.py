"""A hidden Markov model of the night: which stages follow which, from hypnograms.

The student's probabilities p(stage | epoch), divided by the stages' shares in its training and
raised to a power, are the likelihoods of the epochs; Rabiner, Proc IEEE 77 (1989) 257, equations 19
to 27. The power makes up for neighbouring epochs that tell the same twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.sleep.context.sequence import NightRows, class_counts, log_loss

TRUSTS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Powers that are tried on validation."""
LEAST = 1e-6


class Hmm(NamedTuple):
    """The smoother.

    Attributes:
        start: [K] probabilities of the first epoch's stage.
        moves: [K, K] of the next epoch's stage, by this one's.
        prior: [K] the stages' shares as the student was trained, which its answers contain.
        trust: power of an epoch's likelihood, from 0 (ignore it) to 1.
    """

    start: tuple[float, ...]
    moves: tuple[tuple[float, ...], ...]
    prior: tuple[float, ...]
    trust: float = 1.0


def fit_hmm(
    nights: Sequence[NightRows], classes: int, *, balanced: bool = False, extra: float = 1.0
) -> Hmm:
    """Count which stages follow which. Only neighbours that both have a stage count.

    Args:
        nights: with hypnograms.
        classes: number of stages K.
        balanced: the student was trained as if all stages were equally frequent.
        extra: count added to every pair, so that none is impossible.

    Raises:
        ValueError: no two neighbouring epochs have stages.
    """
    moves = torch.full((classes, classes), extra, dtype=torch.float64)
    start = torch.full((classes,), extra, dtype=torch.float64)
    counted = 0
    for night in nights:
        stages = night.target.tolist()
        if stages and stages[0] >= 0:
            start[stages[0]] += 1
        for before, after in pairwise(stages):
            if before >= 0 and after >= 0:
                moves[before, after] += 1
                counted += 1
    if not counted:
        raise ValueError(
            "no two neighbouring epochs for training have stages, so it is not known which stage "
            "follows which; give labels of whole nights"
        )
    counts = class_counts(nights, classes).double() + extra
    prior = torch.ones(classes).double() if balanced else counts
    return Hmm(
        tuple((start / start.sum()).tolist()),
        tuple(map(tuple, (moves / moves.sum(dim=1, keepdim=True)).tolist())),
        tuple((prior / prior.sum()).tolist()),
    )


def smooth(
    hmm: Hmm,
    probabilities: Float[Tensor, "e k"],
    valid: Bool[Tensor, " e"],
    *,
    causal: bool = False,
) -> Float[Tensor, "e k"]:
    """Probabilities of each epoch's stage, given all epochs, or those up to it.

    An epoch that is not valid says nothing, but time passes in it.

    Args:
        hmm: the smoother.
        probabilities: the student's; not read where not valid.
        valid: which epochs it saw.
        causal: use no later epoch.
    """
    moves, prior = (torch.tensor(one, dtype=torch.float64) for one in (hmm.moves, hmm.prior))
    likely = (probabilities.double().clamp(min=LEAST) / prior) ** hmm.trust
    likely = torch.where(valid[:, None], likely, 1.0)
    ahead = torch.empty_like(likely)
    belief = torch.tensor(hmm.start, dtype=torch.float64)
    for epoch, one in enumerate(likely):
        belief = _normalised((belief @ moves if epoch else belief) * one)
        ahead[epoch] = belief
    if causal:
        return ahead.float()
    found = ahead.clone()
    back = torch.ones_like(belief)
    for epoch in range(len(likely) - 2, -1, -1):
        back = _normalised(moves @ (likely[epoch + 1] * back))
        found[epoch] = _normalised(ahead[epoch] * back)
    return found.float()


def _normalised(x: Tensor) -> Tensor:
    return x / x.sum()


def tuned(hmm: Hmm, nights: Sequence[NightRows], classes: int, *, causal: bool = False) -> Hmm:
    """The smoother with the trust that describes other nights' stages best."""

    def loss(trust: float) -> float:
        one = hmm._replace(trust=trust)
        found = [
            smooth(one, night.probabilities(classes), night.valid, causal=causal)
            for night in nights
        ]
        return log_loss(nights, found)

    return hmm._replace(trust=min(TRUSTS, key=loss))
