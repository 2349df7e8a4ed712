"""The classification metrics that every benchmark reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from xdistill.eval_mode import eval_mode
from xdistill.extras import needs_extra
from xdistill.types import PairedBatch


@dataclass(frozen=True)
class Scores:
    """How well predictions agree with the labels.

    Attributes:
        accuracy: share of the labelled rows that are predicted correctly.
        macro_f1: unweighted mean of the per-class F1.
        kappa: Cohen's kappa; NaN where it is undefined, for rows and answers of one class.
        f1_per_class: F1 of each class, in the order of the classes.
        confusion: [K][K] counts, rows are true classes and columns predicted ones.
        ece: expected calibration error (`calibration_error`); None where no probabilities are
            known.
    """

    accuracy: float
    macro_f1: float
    kappa: float
    f1_per_class: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]
    ece: float | None = None


@dataclass(frozen=True)
class Prediction:
    """A network's predictions for a dataset, in the order of its rows.

    Attributes:
        predicted: [N] class index.
        target: [N] class index, -1 where unlabelled.
        scores: how well they agree; None where no row is labelled.
        probabilities: [N, K] of the classes.
    """

    predicted: Int64[Tensor, " n"]
    target: Int64[Tensor, " n"]
    scores: Scores | None
    probabilities: Float[Tensor, "n k"]

    @property
    def scored(self) -> Scores:
        """The scores.

        Raises:
            ValueError: no row is labelled.
        """
        if self.scores is None:
            raise ValueError(
                f"none of the {len(self.target)} rows is labelled, so there are no scores; give "
                "labelled rows, or read `predicted` and `probabilities`"
            )
        return self.scores


def metric_collection(num_classes: int):
    """torchmetrics for logits [B, K] against target [B]; rows with target -1 are left out."""
    with needs_extra("train", "a score"):
        from torchmetrics import MetricCollection
        from torchmetrics.classification import (
            MulticlassAccuracy,
            MulticlassCohenKappa,
            MulticlassConfusionMatrix,
            MulticlassF1Score,
        )

    common = {"num_classes": num_classes, "ignore_index": -1, "validate_args": False}
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(average="micro", **common),
            "macro_f1": MulticlassF1Score(average="macro", **common),
            "kappa": MulticlassCohenKappa(**common),
            "f1_per_class": MulticlassF1Score(average="none", **common),
            "confusion": MulticlassConfusionMatrix(**common),
        },
        compute_groups=False,
    )


def score(
    answers: Float[Tensor, "n k"] | Int64[Tensor, " n"],
    target: Int64[Tensor, " n"],
    num_classes: int,
) -> Scores:
    """The metrics of logits or class indices; indices have no calibration error.

    Raises:
        ValueError: logits of NaN or of another number of classes, a class that does not exist, or
            no labelled row.
    """
    check_answers(answers, target, num_classes)
    if not bool((target != -1).any()):
        raise ValueError(
            f"none of the {len(target)} rows is labelled (a target that is not -1), so there is "
            "nothing to score; give labelled rows, or read the predictions alone from the logits"
        )
    metrics = metric_collection(num_classes).to(target.device)
    metrics.update(answers, target)
    ece = calibration_error(answers, target) if answers.is_floating_point() else None
    return as_scores(metrics.compute(), ece)


def check_answers(answers: Tensor, target: Tensor, num_classes: int) -> None:
    """Refuse what no score can be computed from.

    Raises:
        ValueError: as `score`.
    """
    if len(answers) != len(target):
        raise ValueError(f"got {len(answers)} answers for {len(target)} targets; give one for each")
    if answers.is_floating_point():
        without_nan(answers)
        if answers.shape[1] != num_classes:
            raise ValueError(
                f"num_classes is {num_classes} but the logits have {answers.shape[1]} columns; "
                "give the number of classes that the encoder was created with"
            )
    elif len(answers) and not 0 <= int(answers.min()) <= int(answers.max()) < num_classes:
        raise ValueError(
            f"answers hold classes from {int(answers.min())} to {int(answers.max())}, expected 0 "
            f"to {num_classes - 1}"
        )
    if len(target) and (int(target.min()) < -1 or int(target.max()) >= num_classes):
        raise ValueError(
            f"target holds classes from {int(target.min())} to {int(target.max())}, expected -1 "
            f"(unlabelled) or 0 to {num_classes - 1}"
        )


def calibration_error(logits: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> float | None:
    """Expected calibration error: how far the confidence of the answers is from their accuracy.

    Σ_b |B_b| / n · |accuracy(B_b) − confidence(B_b)| over 15 bins of equal width, where the
    confidence is the probability of the predicted class (Naeini et al., AAAI 2015; Guo et al.,
    ICML 2017, equation 3). Rows with target -1 are left out; None if there is no other.
    """
    with needs_extra("train", "a calibration error"):
        from torchmetrics.functional.classification import multiclass_calibration_error

    known = target != -1
    if not bool(known.any()):
        return None
    # Softmax here: torchmetrics would take logits that lie between 0 and 1 for probabilities.
    probabilities = logits[known].double().softmax(dim=1)
    error = multiclass_calibration_error(
        probabilities, target[known], logits.shape[1], n_bins=15, validate_args=False
    )
    return float(error)


def as_scores(computed: dict[str, Tensor], ece: float | None = None) -> Scores:
    """The computed metrics as plain numbers."""
    return Scores(
        accuracy=float(computed["accuracy"]),
        macro_f1=float(computed["macro_f1"]),
        kappa=float(computed["kappa"]),
        f1_per_class=tuple(computed["f1_per_class"].tolist()),
        confusion=tuple(tuple(row) for row in computed["confusion"].tolist()),
        ece=ece,
    )


def predict(encoder: nn.Module, loader: Iterable[PairedBatch], num_classes: int) -> Prediction:
    """Run an encoder in eval mode over a loader that does not shuffle.

    Rows without the encoder's modality count as unlabelled. Without any label there are
    predictions and probabilities alone.

    Raises:
        ValueError: logits of another number of classes, the encoder has no classifier or returns
            NaN, or rows may have several classes (use
            `xdistill.multi_label.predict_multi_label`).
    """
    answers, target = logits_and_targets(encoder, loader)
    if target.ndim > 1 or target.is_floating_point():
        raise ValueError(
            f"target has shape {list(target.shape)} of {target.dtype}, expected one class per row "
            "[N]; for several classes per row use xdistill.multi_label.predict_multi_label, for "
            "values xdistill.regression.predict_values, for a class at each position "
            "xdistill.sequence.predict_positions"
        )
    check_answers(answers, target, num_classes)
    known = bool((target != -1).any())
    scores = score(answers, target, num_classes) if known else None
    return Prediction(answers.argmax(dim=1), target, scores, answers.softmax(dim=1))


@torch.no_grad()
def logits_and_targets(
    encoder: nn.Module, loader: Iterable[PairedBatch]
) -> tuple[Float[Tensor, "n ... k"], Shaped[Tensor, "n ..."]]:
    """Logits of an encoder in eval mode, and the targets, in the order of the loader.

    Raises:
        ValueError: the encoder has no classifier, or returns NaN, which no prediction can be read
            from.
    """
    device = next(encoder.parameters()).device
    logits, targets = [], []
    with eval_mode(encoder):
        for batch in loader:
            outputs = encoder(batch.inputs[encoder.modality].to(device))  # type: ignore[index]
            if outputs.logits is None:
                raise ValueError("the encoder returns no logits; create it with num_classes")
            logits.append(outputs.logits.float().cpu())
            targets.append(batch.target_of(str(encoder.modality)))
    if not logits:
        raise ValueError("the loader yields no batch, so there is nothing to predict")
    return without_nan(torch.cat(logits)), torch.cat(targets)


def without_nan(logits: Float[Tensor, "n ... k"]) -> Float[Tensor, "n ... k"]:
    """The logits, refused if there is a NaN: argmax would take it for the largest.

    Raises:
        ValueError: there is a NaN.
    """
    rows = logits.isnan().flatten(1).any(dim=1).nonzero().flatten().tolist()
    if rows:
        raise ValueError(
            f"the logits are NaN in {len(rows)} of {len(logits)} rows (first: row {rows[0]}); "
            "remove rows with NaN inputs (xdistill.audit finds them), or train the encoder again"
        )
    return logits
