"""Which keys of a batch an anchor meets: its candidates, its positives and its negatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

EXCLUDED = -1e30
"""Score of a key that is no candidate: probability 0, and no infinity in any gradient."""


class Pairs(NamedTuple):
    """[B, B] masks over (anchor, key).

    Attributes:
        candidate: the key takes part in the anchor's softmax.
        positive: it should be near; the anchor's own pair always is.
        negative: it is known to be of another kind.
    """

    candidate: Bool[Tensor, "b b"]
    positive: Bool[Tensor, "b b"]
    negative: Bool[Tensor, "b b"]


def label_pairs(keep: Bool[Tensor, " b"], target: Int64[Tensor, " b"] | None = None) -> Pairs:
    """The pairs among the rows that count.

    Without labels only row i of the keys belongs to anchor i, and all other keys are negatives.
    With labels, keys of the anchor's class are positives too. A row labelled -1 could be of any
    class: for a labelled anchor it is neither positive nor negative nor a candidate, and as an
    anchor it is told from all other keys by its own pair alone, as in InfoNCE. A batch of nothing
    but -1 therefore has the candidates and positives of one without labels.

    Args:
        keep: [B] the rows that count.
        target: [B] class, -1 where unlabelled.
    """
    both = keep[:, None] & keep[None, :]
    own = both & torch.eye(len(keep), dtype=torch.bool, device=keep.device)
    if target is None:
        return Pairs(candidate=both, positive=own, negative=both & ~own)
    labelled = target >= 0
    known = both & labelled[:, None] & labelled[None, :]
    same = target[:, None] == target[None, :]
    return Pairs(
        candidate=own | (both & (labelled[None, :] | ~labelled[:, None])),
        positive=own | (known & same),
        negative=known & ~same,
    )


def distinct_pairs(keep: Bool[Tensor, " b"]) -> Bool[Tensor, "b b"]:
    """The ordered pairs of two different rows that count."""
    other = ~torch.eye(len(keep), dtype=torch.bool, device=keep.device)
    return other & keep[:, None] & keep[None, :]


def mean_over_keys(values: Float[Tensor, "b k"], mask: Bool[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Each anchor's mean over its marked keys; 0 for an anchor without any."""
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
