"""Predictors of the gain, each judged on sources of data that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

Entry = Mapping[str, Any]
PREDICTORS: Mapping[str, Callable[[Entry], float]] = {
    "probe gain": lambda e: e["distilled_probe"] - e["student_probe"]["1.0"],
    "teacher minus student": lambda e: e["teacher"] - e["student_probe"]["1.0"],
    "both minus student": lambda e: e["both_probe"] - e["student_probe"]["1.0"],
    "information, teacher minus label": lambda e: e["teacher_information"] - e["label_information"],
    "log2 of rows per labelled row": lambda e: float(np.log2(e["rows"] / e["labelled"])),
    "slope over labels": lambda e: e["student_probe"]["1.0"] - e["student_probe"]["0.5"],
}
CHOSEN = "log2 of rows per labelled row"
"""What the expected gain is made from: the one that errs less than the mean of the others."""
INSIDE = (0.1, 0.9)
"""Quantiles between which four of five errors lie."""


class Line(NamedTuple):
    """A straight line, and where the errors lie on sources that it has not seen."""

    intercept: float
    slope: float
    low: float
    high: float


def source_of(entry: Entry) -> str:
    """The data that a setting is made of."""
    return entry["setting"].partition("-")[0]


def compared(entries: Sequence[Entry]) -> dict[str, dict[str, float]]:
    """For each predictor its rank correlation, and the mean error on sources left out.

    "mean of the others" predicts for each source the mean gain of the others.
    """
    gain = np.array([entry["gain"] for entry in entries])
    table = {"mean of the others": _errors(entries, gain, np.zeros(len(gain)))}
    for name, predictor in PREDICTORS.items():
        x = np.array([predictor(entry) for entry in entries])
        rank = {}
        if np.ptp(x) and np.ptp(gain):  # else there is no order
            rank["rank_correlation"] = round(float(spearmanr(x, gain)[0]), 3)  # type: ignore[arg-type]
        table[name] = rank | _errors(entries, gain, x)
    return table


def _errors(entries: Sequence[Entry], gain: np.ndarray, x: np.ndarray) -> dict[str, float]:
    error = gain - left_out(entries, gain, x)
    inside = {f"error_{round(100 * q)}": float(np.quantile(error, q)) for q in INSIDE}
    figures = {"mean_absolute_error": float(np.abs(error).mean()), **inside}
    return {name: round(value, 4) for name, value in figures.items()}


def left_out(entries: Sequence[Entry], gain: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Each gain as a line through the other sources predicts it; every source weighs the same."""
    sources = np.array([source_of(entry) for entry in entries])
    predicted = np.empty(len(gain))
    for source in np.unique(sources):
        others = sources != source
        if not others.any():  # the first source of all: nothing to learn from
            others = ~others
        line = _line(x[others], gain[others], sources[others])
        left = sources == source
        predicted[left] = line[0] + line[1] * x[left]
    return predicted


def final_fit(entries: Sequence[Entry]) -> Line:
    """The line on `CHOSEN` through all sources, with the errors of those left out."""
    gain = np.array([entry["gain"] for entry in entries])
    x = np.array([PREDICTORS[CHOSEN](entry) for entry in entries])
    error = gain - left_out(entries, gain, x)
    sources = np.array([source_of(entry) for entry in entries])
    low, high = np.quantile(error, INSIDE)
    return Line(*_line(x, gain, sources), float(low), float(high))


def _line(x: np.ndarray, y: np.ndarray, sources: np.ndarray) -> tuple[float, float]:
    """Intercept and slope by least squares, in which each source has the same weight."""
    counts = {source: np.sum(sources == source) for source in np.unique(sources)}
    weight = np.sqrt([1 / counts[source] for source in sources])
    if not x.any():
        return float(np.average(y, weights=weight**2)), 0.0
    design = np.stack([np.ones(len(x)), x], axis=1) * weight[:, None]
    intercept, slope = np.linalg.lstsq(design, y * weight, rcond=None)[0]
    return float(intercept), float(slope)
