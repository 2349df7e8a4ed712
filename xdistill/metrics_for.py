"""The metrics that a target of each kind is validated by."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.targets import kind_of
from xdistill.metrics import metric_collection
from xdistill.multi_label import multi_label_metrics
from xdistill.regression import RegressionMetrics
from xdistill.types import TargetKind

Prepare = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class TargetMetrics(nn.Module):
    """torchmetrics behind a function that brings logits and target to the form they take.

    Args:
        metrics: has update, compute and reset.
        prepare: logits and target as `metrics.update` takes them.
    """

    def __init__(self, metrics: nn.Module, prepare: Prepare):
        super().__init__()
        self.metrics = metrics
        self.prepare = prepare

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add a batch."""
        self.metrics.update(*self.prepare(logits.float(), target))  # type: ignore[operator]

    def compute(self) -> dict[str, Tensor]:
        """Each metric by name."""
        return self.metrics.compute()  # type: ignore[operator]

    def reset(self) -> None:
        """Forget all batches."""
        self.metrics.reset()  # type: ignore[operator]


def metrics_for(logits: Tensor, target: Tensor, loss: nn.Module) -> TargetMetrics:
    """The metrics for batches such as this one.

    One class a row: `metric_collection`; the same for a sequence, over its positions, and for soft
    labels, against the likeliest class. Several: `multi_label_metrics`. Values:
    `RegressionMetrics`.

    Args:
        logits: a batch of the student's.
        target: that batch's.
        loss: holds the losses of the training, which tell values from soft labels.
    """
    leaves = [one for one in loss.modules() if isinstance(one, Loss) and not one.composite]
    reads: tuple[TargetKind, ...] = tuple({k for one in leaves if one.task for k in one.reads})
    kind = kind_of(target, logits, reads)
    classes = logits.shape[-1]
    if kind == "values":
        return TargetMetrics(RegressionMetrics(classes), _as_they_are)
    if kind == "classes":
        return TargetMetrics(multi_label_metrics(classes), _probabilities)
    prepare = {"class": _as_they_are, "sequence": _positions, "soft": _likeliest}[kind]
    return TargetMetrics(metric_collection(classes), prepare)


def _as_they_are(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return logits, target


def _probabilities(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return logits.sigmoid(), target


def _positions(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return logits.flatten(0, -2), target.flatten()


def _likeliest(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    unlabelled = target.isnan().any(dim=-1)
    likeliest = target.nan_to_num(0).argmax(dim=-1).masked_fill(unlabelled, -1)
    return logits.flatten(0, -2), likeliest.flatten()
