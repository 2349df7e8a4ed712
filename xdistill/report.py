"""Results of benchmark runs: means over seeds, the JSON file, and the table in the terminal."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from xdistill.extras import needs_extra
from xdistill.metrics import Scores
from xdistill.storage.json_file import read_json as read_json
from xdistill.storage.json_file import write_json as write_json

PACKAGES = ("xdistill", "torch", "torchvision", "lightning", "torchmetrics", "numpy")


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and half the width of its 95 % interval (Student's t).

    `half_width` is None for a single seed, which says nothing about the spread; `mean` is NaN, or
    None as a file has it, where the number is not defined for every seed.
    """

    mean: float | None
    half_width: float | None

    def __str__(self) -> str:
        if self.mean is None or math.isnan(self.mean):
            return "–"
        if self.half_width is None:
            return f"{100 * self.mean:.1f}"
        return f"{100 * self.mean:.1f} ± {100 * self.half_width:.1f}"


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval of one number per seed."""
    with needs_extra("train", "an interval over seeds"):
        from scipy import stats

    sample = np.asarray(values, dtype=float)
    if len(sample) < 2:
        return Interval(float(sample.mean()), None)
    quantile = float(stats.t.ppf(0.975, len(sample) - 1))
    return Interval(float(sample.mean()), quantile * float(sample.std(ddof=1)) / len(sample) ** 0.5)


def summarise(runs: Sequence[Scores]) -> dict[str, Any]:
    """The entry of one method in results.json: means over seeds, intervals, and every run.

    It has the calibration error `ece` only where every run has one.
    """
    names = (*SCALARS, ECE) if all(run.ece is not None for run in runs) else SCALARS
    scalars = {name: [getattr(run, name) for run in runs] for name in names}
    intervals = {name: interval(values) for name, values in scalars.items()}
    return {
        **{name: one.mean for name, one in intervals.items()},
        "f1_per_class": np.mean([run.f1_per_class for run in runs], axis=0).tolist(),
        "confidence_95": {name: one.half_width for name, one in intervals.items()},
        "runs": [asdict(run) for run in runs],
    }


SCALARS = ("accuracy", "macro_f1", "kappa")
"""The scores that every run has, each better the larger it is."""
ECE = "ece"
"""The calibration error, better the smaller it is; runs of class indices have none."""


def paired_difference(runs: Sequence[Scores], baseline: Sequence[Scores]) -> dict[str, Any]:
    """Mean difference to the baseline with the same seed, its 95 % interval, and a p-value.

    The p-value is that of the two-sided paired t-test; None for a single seed.
    """
    differences = {
        name: [getattr(a, name) - getattr(b, name) for a, b in zip(runs, baseline, strict=True)]
        for name in SCALARS
    }
    return {name: paired_interval(values) for name, values in differences.items()}


def paired_interval(differences: Sequence[float]) -> dict[str, float | None]:
    """Mean of one difference per seed, its 95 % interval, and the p-value of a mean of zero."""
    return {**asdict(interval(differences)), "p_value": _p_value(differences)}


def is_clear(gap: Mapping[str, float | None]) -> bool:
    """Whether the interval of a difference leaves zero out; that of a single seed never does."""
    mean, half = gap["mean"], gap["half_width"]
    return half is not None and mean is not None and abs(mean) > half


def _p_value(differences: Sequence[float]) -> float | None:
    """The p-value of the hypothesis that the mean of the differences is zero."""
    with needs_extra("train", "an interval over seeds"):
        from scipy import stats

    if len(differences) < 2:
        return None
    if np.ptp(differences) == 0:  # the test would divide by zero
        return float(differences[0] == 0)
    return float(np.asarray(stats.ttest_1samp(differences, 0.0))[1])


def environment() -> dict[str, Any]:
    """Versions of the packages that computed the numbers, and the device."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu()
    return {"versions": versions, "device": device}


def _cpu() -> str:
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def table(entries: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> str:
    """The results as text: a row per method, in per cent, with 95 % intervals over seeds.

    The calibration error has a column where at least one entry has one.
    """
    names = {"accuracy": "accuracy", "macro_f1": "macro-F1", "kappa": "kappa"}
    names |= {ECE: "ECE"} if any(ECE in entry for entry in entries.values()) else {}
    header = ["", *names.values(), *[f"F1 {name}" for name in classes]]
    rows = [header]
    for name, entry in entries.items():
        half = entry["confidence_95"]
        cells = [str(Interval(entry[one], half[one])) if one in entry else "" for one in names]
        rows.append([name, *cells, *[f"{100 * value:.1f}" for value in entry["f1_per_class"]]])
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "─" * len(lines[0]))
    return "\n".join(lines)
