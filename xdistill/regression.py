"""Metrics for targets that are values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.extras import needs_extra
from xdistill.metrics import logits_and_targets
from xdistill.types import PairedBatch


@dataclass(frozen=True)
class RegressionScores:
    """How well predicted values agree with the target, each a mean over the K values.

    Attributes:
        mae: mean absolute error, in units of the target.
        rmse: root of the mean squared error, in units of the target.
        r2: share of the target's variance that is explained; NaN with fewer than two rows.
        pearson: Pearson's correlation; NaN where predictions or targets are constant.
        mae_per_value: the mean absolute error of each value.
    """

    mae: float
    rmse: float
    r2: float
    pearson: float
    mae_per_value: tuple[float, ...]


@dataclass(frozen=True)
class RegressionPrediction:
    """A network's predictions for a dataset, in the order of its rows.

    Attributes:
        predicted: [N, K] values.
        target: [N, K] values, NaN where unlabelled.
        scores: how well they agree.
    """

    predicted: Float[Tensor, "n k"]
    target: Float[Tensor, "n k"]
    scores: RegressionScores


class RegressionMetrics(nn.Module):
    """torchmetrics of K values, in float64; entries whose target is NaN are left out.

    Args:
        num_values: K.
    """

    def __init__(self, num_values: int):
        super().__init__()
        self.values = nn.ModuleList(_metrics_of_one_value() for _ in range(num_values))

    def update(self, predicted: Float[Tensor, "*n k"], target: Float[Tensor, "*m"]) -> None:
        """Add rows; target [N] may stand for [N, 1].

        Raises:
            ValueError: the shapes differ, or a prediction is NaN.
        """
        wanted = target[..., None] if target.ndim == predicted.ndim - 1 else target
        if wanted.shape != predicted.shape:
            raise ValueError(
                f"predictions have shape {list(predicted.shape)}, the target "
                f"{list(target.shape)}; create the encoder with num_classes={wanted.shape[-1]}"
            )
        ours, theirs = predicted.double().flatten(0, -2), wanted.double().flatten(0, -2)
        for column, metrics in enumerate(self.values):
            known = ~theirs[:, column].isnan()
            if not bool(known.any()):
                continue
            if bool(ours[known, column].isnan().any()):
                raise ValueError("a predicted value is NaN, which no score can be read from")
            metrics.update(ours[known, column], theirs[known, column])  # type: ignore[operator]

    def compute(self) -> dict[str, Tensor]:
        """The mean of each metric over the values, and "mae_per_value".

        Raises:
            ValueError: a value has no target in any row.
        """
        each = [_computed(metrics, column) for column, metrics in enumerate(self.values)]
        means = {name: torch.stack([one[name] for one in each]).mean() for name in each[0]}
        return {**means, "mae_per_value": torch.stack([one["mae"] for one in each])}

    def reset(self) -> None:
        """Forget all rows."""
        for metrics in self.values:
            metrics.reset()  # type: ignore[operator]


def _metrics_of_one_value() -> nn.Module:
    with needs_extra("train", "a score"):
        from torchmetrics import MetricCollection, SumMetric
        from torchmetrics.regression import (
            MeanAbsoluteError,
            MeanSquaredError,
            PearsonCorrCoef,
            R2Score,
        )

    class Count(SumMetric):
        def update(self, predicted: Tensor, target: Tensor) -> None:
            super().update(torch.ones_like(target))

    metrics = {
        "mae": MeanAbsoluteError(),
        "rmse": MeanSquaredError(squared=False),
        "r2": R2Score(),
        "pearson": PearsonCorrCoef(),
        "count": Count(),
    }
    return MetricCollection(metrics, compute_groups=False).set_dtype(torch.float64)


def _computed(metrics: nn.Module, column: int) -> dict[str, Tensor]:
    named = dict(metrics.items(keep_base=True))  # type: ignore[operator]
    with warnings.catch_warnings():
        # Of a process without rows, and of a constant target, whose correlation is NaN.
        warnings.filterwarnings("ignore", ".*compute.* method of metric .*")
        warnings.filterwarnings("ignore", ".*variance of predictions or target is close to zero.*")
        count = named.pop("count").compute()
        if count == 0:
            raise ValueError(f"value {column} has no target in any row; nothing can be scored")
        few = torch.full_like(count, math.nan)
        return {
            name: few if count < 2 and name in ("r2", "pearson") else metric.compute()
            for name, metric in named.items()
        }


def score_values(
    predicted: Float[Tensor, "n k"], target: Float[Tensor, "n ..."]
) -> RegressionScores:
    """The metrics of predicted values against a target [N, K] or [N], NaN where unlabelled.

    Raises:
        ValueError: shapes that differ, a NaN prediction, or a value without any target.
    """
    metrics = RegressionMetrics(predicted.shape[-1]).to(target.device)
    metrics.update(predicted, target)
    computed = metrics.compute()
    return RegressionScores(
        mae=float(computed["mae"]),
        rmse=float(computed["rmse"]),
        r2=float(computed["r2"]),
        pearson=float(computed["pearson"]),
        mae_per_value=tuple(computed["mae_per_value"].tolist()),
    )


def predict_values(encoder: nn.Module, loader: Iterable[PairedBatch]) -> RegressionPrediction:
    """Run an encoder in eval mode over a loader that does not shuffle; its logits are the values.

    Raises:
        ValueError: the encoder has no logits or returns NaN, or the target holds classes.
    """
    predicted, target = logits_and_targets(encoder, loader)
    if not target.is_floating_point():
        raise ValueError(
            f"target holds classes ({target.dtype}), expected float values; use "
            "xdistill.metrics.predict"
        )
    wanted = target[..., None] if target.ndim == predicted.ndim - 1 else target
    return RegressionPrediction(predicted, wanted, score_values(predicted, target))
