"""Metrics for a class at each position of a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor, nn

from xdistill.metrics import Scores, logits_and_targets, score
from xdistill.types import PairedBatch


@dataclass(frozen=True)
class SequencePrediction:
    """A network's predictions for a dataset, in the order of its rows.

    Attributes:
        predicted: [N, L] class index of each position.
        target: [N, L] class index, -1 where unlabelled.
        scores: how well they agree over all labelled positions; accuracy is that per position.
    """

    predicted: Int64[Tensor, "n l"]
    target: Int64[Tensor, "n l"]
    scores: Scores


def score_positions(logits: Float[Tensor, "n l k"], target: Int64[Tensor, "n l"]) -> Scores:
    """The metrics of one class per row, where each position is a row."""
    return score(logits.flatten(0, 1), target.flatten(), logits.shape[-1])


def predict_positions(encoder: nn.Module, loader: Iterable[PairedBatch]) -> SequencePrediction:
    """Run an encoder in eval mode over a loader that does not shuffle.

    Raises:
        ValueError: the encoder returns no logits [B, L, K] or NaN, or the target is not [B, L].
    """
    logits, target = logits_and_targets(encoder, loader)
    if logits.ndim != 3 or target.shape != logits.shape[:-1] or target.is_floating_point():
        raise ValueError(
            f"logits have shape {list(logits.shape)} and target {list(target.shape)} of "
            f"{target.dtype}, expected [N, L, K] and int64 [N, L]; for one class per row use "
            "xdistill.metrics.predict"
        )
    return SequencePrediction(logits.argmax(dim=-1), target, score_positions(logits, target))
