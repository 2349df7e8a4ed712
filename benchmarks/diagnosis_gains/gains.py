"""What distillation gained in the suite's runs, condition by condition."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from xdistill.experiment.case import Case

TAUGHT, ALONE = "recipe", "labelled"


class Condition(NamedTuple):
    """A setting, what its teacher saw, and whose labels the student sees.

    Attributes:
        setting: its name.
        case: what the teacher saw of the rows that it teaches.
        labels: share of the training labels.
        groups: number of whole groups with labels; None for all.
    """

    setting: str
    case: Case
    labels: float
    groups: int | None


def gains_of(path: Path) -> dict[Condition, list[float]]:
    """Macro-F1 on test of `recipe` minus the labelled rows alone, one value per seed.

    Of the trials of a method, its search, that with the best validation counts.
    """
    best: dict[tuple[Condition, int, str], tuple[float, float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            plain = row["missing"] in ("", "0") and row["epochs"] in ("", "1")
            if row["method"] not in (TAUGHT, ALONE) or row["error"] or not plain:
                continue
            groups = int(row["groups"]) if row["groups"] else None
            case: Case = row["case"]  # type: ignore[assignment]
            condition = Condition(row["setting"], case, float(row["labels"]), groups)
            key = (condition, int(row["seed"]), row["method"])
            found = float(row["val_macro_f1"]), float(row["test_macro_f1"])
            best[key] = max(best.get(key, found), found, key=lambda one: one[0])
    gains: dict[Condition, list[float]] = defaultdict(list)
    for (condition, seed, method), (_, test) in sorted(best.items(), key=lambda one: one[0][1]):
        alone = best.get((condition._replace(case="in_sample"), seed, ALONE))
        if method == TAUGHT and alone is not None:
            gains[condition].append(test - alone[1])
    return dict(gains)
