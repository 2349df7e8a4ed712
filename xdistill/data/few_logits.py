"""The largest logits of each row, for teachers of many classes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

LOGITS = "logits"
VALUES, INDEX, OTHERS, CLASSES = (f"few_logits.{one}" for one in ("values", "index", "others", "k"))


def few_logits(logits: Float[Tensor, "n k"], count: int) -> dict[str, Tensor]:
    """The `count` largest logits of each row, and one value for all others.

    The others' value is the logarithm of the mean of their exponentials, so that a softmax gives
    the kept classes the probabilities that they had, and the others, evenly, what they had
    together. Rows of zeros, which have no logits, stay zeros.
    """
    classes = logits.shape[1]
    count = min(count, classes)
    values, index = logits.topk(count, dim=1)
    others = logits.double().scatter(1, index, -torch.inf).logsumexp(dim=1)
    others = (others - math.log(max(1, classes - count))).clamp_min(torch.finfo(logits.dtype).min)
    return {
        VALUES: values,
        INDEX: index.to(torch.int32),
        OTHERS: others.to(logits.dtype) if count < classes else values[:, -1],
        CLASSES: torch.full((len(logits),), classes, dtype=torch.int32),
    }


def all_logits(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with the logits of all classes in the place of the few that were kept."""
    if VALUES not in stored:
        return stored
    left = {name: one for name, one in stored.items() if not name.startswith("few_logits.")}
    rest = stored[OTHERS][:, None].expand(-1, int(stored[CLASSES].max()))
    return {**left, LOGITS: rest.scatter(1, stored[INDEX].long(), stored[VALUES])}
