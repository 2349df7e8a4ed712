"""Metrics for rows that may have several classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor, nn

from xdistill.extras import needs_extra
from xdistill.metrics import logits_and_targets, without_nan
from xdistill.types import PairedBatch


@dataclass(frozen=True)
class MultiLabelScores:
    """How well predicted classes agree with the labels; a class is predicted if its logit is > 0.

    Attributes:
        micro_f1: F1 over all rows and classes together.
        macro_f1: unweighted mean of the per-class F1.
        weighted_f1: mean of the per-class F1, weighted by the number of rows that have the class.
        mean_average_precision: mean over classes of the area under the precision-recall curve,
            which needs no threshold.
        f1_per_class: F1 of each class, in the order of the classes.
    """

    micro_f1: float
    macro_f1: float
    weighted_f1: float
    mean_average_precision: float
    f1_per_class: tuple[float, ...]


@dataclass(frozen=True)
class MultiLabelPrediction:
    """A network's predictions for a dataset, in the order of its rows.

    Attributes:
        predicted: [N, K] 1 for each predicted class, else 0.
        target: [N, K] 1 for each class of the row, 0 for the others, -1 where unknown.
        scores: how well they agree.
    """

    predicted: Int64[Tensor, "n k"]
    target: Int64[Tensor, "n k"]
    scores: MultiLabelScores


def multi_label_metrics(num_classes: int):
    """torchmetrics for probabilities [B, K] against target [B, K]; entries of -1 are left out."""
    with needs_extra("train", "a score"):
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score

    common = {"num_labels": num_classes, "ignore_index": -1, "validate_args": False}
    return MetricCollection(
        {
            "micro_f1": MultilabelF1Score(average="micro", **common),
            "macro_f1": MultilabelF1Score(average="macro", **common),
            "weighted_f1": MultilabelF1Score(average="weighted", **common),
            "mean_average_precision": MultilabelAveragePrecision(average="macro", **common),
            "f1_per_class": MultilabelF1Score(average="none", **common),
        },
        compute_groups=False,
    )


def score_multi_label(
    logits: Float[Tensor, "n k"], target: Int64[Tensor, "n k"]
) -> MultiLabelScores:
    """The metrics of logits.

    Raises:
        ValueError: logits of NaN, a target of another shape, or no entry that is known.
    """
    without_nan(logits)
    if target.shape != logits.shape:
        raise ValueError(
            f"target has shape {list(target.shape)}, expected that of the logits, "
            f"{list(logits.shape)}"
        )
    if not bool((target != -1).any()):
        raise ValueError(
            f"none of the {len(target)} rows is labelled (an entry that is not -1), so there is "
            "nothing to score"
        )
    metrics = multi_label_metrics(logits.shape[1]).to(target.device)
    metrics.update(logits.sigmoid(), target)
    computed = metrics.compute()
    return MultiLabelScores(
        micro_f1=float(computed["micro_f1"]),
        macro_f1=float(computed["macro_f1"]),
        weighted_f1=float(computed["weighted_f1"]),
        mean_average_precision=float(computed["mean_average_precision"]),
        f1_per_class=tuple(computed["f1_per_class"].tolist()),
    )


def predict_multi_label(encoder: nn.Module, loader: Iterable[PairedBatch]) -> MultiLabelPrediction:
    """Run an encoder in eval mode over a loader that does not shuffle.

    Raises:
        ValueError: the encoder has no classifier or returns NaN, or each row has one class (use
            `xdistill.metrics.predict`).
    """
    logits, target = logits_and_targets(encoder, loader)
    if target.shape != logits.shape:
        raise ValueError(
            f"target has shape {list(target.shape)}, expected that of the logits, "
            f"{list(logits.shape)}; for one class per row use xdistill.metrics.predict"
        )
    return MultiLabelPrediction((logits > 0).long(), target, score_multi_label(logits, target))
