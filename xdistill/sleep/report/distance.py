"""How far a night's signals lie from those of the nights a student was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xdistill.sleep.report.held_out import with_nan

NEAR, FAR = 2.0, 3.0
"""Standard deviations at which a night is unusual, and at which it is far away."""


class TrainingNights(NamedTuple):
    """The body's features over the nights of training, each night's mean one observation.

    Attributes:
        names: of the features.
        mean: [F] over the nights.
        sd: [F] between the nights.
        correlation: [F, F] between the nights; None where it is not known.
        nights: their number.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray
    correlation: np.ndarray | None
    nights: int


def training_nights(signals: Mapping[str, Any]) -> TrainingNights | None:
    """The body's features over the training nights; None where the run does not know them.

    A single night has no spread that another one could be compared with.

    Raises:
        ValueError: an entry that is none.
    """
    if not signals or not signals.get("names") or signals.get("nights", 0) < 2:
        return None
    try:
        correlation = signals.get("correlation")
        return TrainingNights(
            tuple(signals["names"]),
            np.array([with_nan(one) for one in signals["mean"]], float),
            np.array([with_nan(one) for one in signals["sd"]], float),
            None
            if correlation is None
            else np.array([[with_nan(one) for one in row] for row in correlation], float),
            int(signals["nights"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the signals of the training nights are not what `xdistill train` writes "
            f"({type(error).__name__}: {error}); train the student again with this version"
        ) from error


class Distance(NamedTuple):
    """How far one night is from them.

    Attributes:
        names: of the features that both have.
        values: [F] the night's means.
        z: [F] in standard deviations between training nights.
        mahalanobis: the Mahalanobis distance divided by the root of the number of features: how
            many standard deviations the features lie away, as their root mean square, with their
            correlations taken into account. About 1 for a night like those of training.
        missing: features that the night does not have at all.
    """

    names: tuple[str, ...]
    values: np.ndarray
    z: np.ndarray
    mahalanobis: float
    missing: tuple[str, ...]


def distance_from_training(
    features: np.ndarray, names: Sequence[str], training: TrainingNights
) -> Distance:
    """The distance of a night.

    Args:
        features: [E, F], NaN where the film shows none.
        names: of its columns.
        training: the nights of training.
    """
    known = [
        name
        for name, mean, sd in zip(training.names, training.mean, training.sd, strict=True)
        if name in names and np.isfinite(mean) and sd > 0  # one without spread compares with none
    ]
    columns = [features[:, list(names).index(name)] for name in known]
    means = [float(np.nanmean(one)) if np.isfinite(one).any() else np.nan for one in columns]
    there = [at for at, value in enumerate(means) if np.isfinite(value)]
    kept = tuple(known[at] for at in there)
    at = [training.names.index(name) for name in kept]
    values = np.array([means[one] for one in there])
    z = (values - training.mean[at]) / training.sd[at]
    return Distance(
        kept,
        values,
        z,
        _mahalanobis(z, training, at),
        tuple(name for name in known if name not in kept),
    )


def _mahalanobis(z: np.ndarray, training: TrainingNights, at: Sequence[int]) -> float:
    """Per root of a feature; the correlations are shrunk the more, the fewer nights there were."""
    if not len(z):
        return float("nan")
    correlation = np.eye(len(z))
    if training.correlation is not None:
        weight = training.nights / (training.nights + 2 * len(training.names))
        measured = np.nan_to_num(training.correlation[np.ix_(at, at)])
        correlation = weight * measured + (1 - weight) * correlation
        np.fill_diagonal(correlation, 1.0)
    squared = float(z @ np.linalg.pinv(correlation, hermitian=True) @ z)
    return float(np.sqrt(max(squared, 0.0) / len(z)))


def distance_sentence(distance: Distance, training: TrainingNights) -> str:
    """The distance in plain words, for a reader who knows no statistics."""
    if distance.missing and not distance.names:
        return (
            "The film shows no movement or breathing that could be measured, so nothing can be said"
            " about how this night compares with the nights of training: do not rely on its stages."
        )
    if not distance.names:
        return (
            "This night and the training nights have no measure of movement or breathing in common,"
            " so nothing can be said about how it compares with them."
        )
    size = np.abs(distance.z)
    worst = int(size.argmax())
    most = max(float(size[worst]), distance.mahalanobis)
    name = distance.names[worst].replace("_", " ")
    way = "higher" if distance.z[worst] > 0 else "lower"
    what = (
        f"The largest difference is its {name}: {distance.values[worst]:.3g}, {size[worst]:.1f} "
        f"standard deviations {way} than the {training.nights} training nights' mean."
    )
    lacking = (
        f" It has no measurable {' or '.join(distance.missing).replace('_', ' ')}."
        if distance.missing
        else ""
    )
    if most < NEAR and lacking:
        return (
            f"What could be measured of this night is like the training nights.{lacking} Take its "
            f"stages with caution. {what}"
        )
    if most < NEAR:
        return f"This night's movement and breathing are like those of the training nights. {what}"
    if most < FAR:
        return (
            "This night's movement and breathing are somewhat unlike those of the training nights: "
            f"take its stages with more caution than the scores suggest. {what}{lacking}"
        )
    return (
        "This night's movement and breathing lie far from those of the training nights: the scores "
        f"below do not hold for it, and its stages may be wrong. {what}{lacking}"
    )
