"""Which keys an anchor of the mined losses is pulled towards and pushed away from."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

Positives = Literal["pair", "class"]


class Side(NamedTuple):
    """Label, sample and validity of N rows.

    Attributes:
        label: class, -1 where unknown.
        index: sample, -1 where unknown.
        keep: False for rows that take no part.
    """

    label: Int64[Tensor, " n"]
    index: Int64[Tensor, " n"]
    keep: Bool[Tensor, " n"]

    def rows(self, part: slice) -> Side:
        """The entries of some of the rows."""
        return Side(*(tensor[part] for tensor in self))


class Relations(NamedTuple):
    """The positives and negatives of N anchors among M = B + Q keys: the batch's, then the bank's.

    Attributes:
        keep: [N] False for anchors that take no part.
        positive: [N, B] keys of the batch that an anchor is pulled towards.
        negative: [N, M] keys that it may be pushed away from.
    """

    keep: Bool[Tensor, " n"]
    positive: Bool[Tensor, "n b"]
    negative: Bool[Tensor, "n m"]


def relate(
    anchors: Side, keys: Side, bank: Side | None, positives: Positives, own: int = 0
) -> Relations:
    """Positives and negatives by label and sample. Key i + own of the batch is anchor i's pair."""
    n, b = len(anchors.label), len(keys.label)
    device = anchors.label.device
    pair = torch.arange(n, device=device)[:, None] + own == torch.arange(b, device=device)
    both = anchors.keep[:, None] & keys.keep[None, :]
    positive = pair
    if positives == "class":
        same = anchors.label[:, None] == keys.label[None, :]
        positive = pair | (same & (anchors.label >= 0)[:, None])
    negative = both & ~pair & _apart(anchors, keys)
    if bank is not None:
        of_bank = anchors.keep[:, None] & bank.keep[None, :] & _apart(anchors, bank)
        negative = torch.cat([negative, of_bank], dim=1)
    return Relations(anchors.keep, positive & both, negative)


def _apart(anchors: Side, keys: Side) -> Bool[Tensor, "n m"]:
    """Whether a key has another class than the anchor, or another sample if that has no label."""
    other_class = (anchors.label[:, None] != keys.label[None, :]) & (keys.label >= 0)[None, :]
    same_sample = (anchors.index[:, None] == keys.index[None, :]) & (anchors.index >= 0)[:, None]
    return (other_class | (anchors.label < 0)[:, None]) & ~same_sample


def count_triplets(relations: Relations) -> Int64[Tensor, ""]:
    """The number of triplets (anchor, positive, negative)."""
    return (relations.positive.sum(dim=1) * relations.negative.sum(dim=1)).sum()
