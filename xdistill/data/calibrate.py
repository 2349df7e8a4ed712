"""Calibrate a teacher's cached logits by one temperature."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.data.cache import cached_logits
from xdistill.data.paired import PairedDataset
from xdistill.extras import needs_extra

LARGEST = 20.0
"""Largest temperature that is tried; the smallest is its inverse."""


def fit_temperature(logits: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> float:
    """The T from 1/20 to 20 with the smallest mean cross-entropy of softmax(z / T).

    Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2. The
    cross-entropy is convex in 1/T, so a bounded search finds its only minimum. Where all rows are
    right it lies at 1/20, or below.

    Args:
        logits: of rows that the teacher was not fitted on.
        target: the class of each row.
    """
    with needs_extra("train", "calibrate_teacher"):
        from scipy.optimize import minimize_scalar

    rows = logits.double()

    def mean_cross_entropy(log_temperature: float) -> float:
        return float(F.cross_entropy(rows / math.exp(log_temperature), target))

    bound = math.log(LARGEST)
    found = minimize_scalar(
        mean_cross_entropy, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6}
    )
    # The search stays inside its bounds, and stops anywhere where the cross-entropy is flat.
    tried = (0.0, -bound, bound, float(found.x))
    return math.exp(min(tried, key=mean_cross_entropy))


def calibrate_teacher(dataset: PairedDataset, modality: str) -> PairedDataset:
    """The dataset with a teacher's cached logits divided by the temperature that fits its labels.

    A teacher that is surer than it is right gives targets that are nearly hard, one that is less
    sure gives flat ones. The temperature is fitted on the labelled rows that have the teacher
    (`fit_temperature`), of which a few tens suffice, since it is a single number. The teacher's
    class stays the same in every row.

    Args:
        dataset: with cached outputs of the teacher that have logits (`cache_teacher`,
            `cross_fit_teacher`), and labels in some rows.
        modality: the teacher's.

    Raises:
        ValueError: no cached logits of that teacher, several classes a row, no labelled row that
            has the teacher, or NaN or infinity in one.
    """
    given = cached_logits(dataset, modality, "calibrate_teacher")
    if dataset.target_kind != "class":
        raise ValueError(
            f"calibrate_teacher takes one class a row, got target {list(dataset.target.shape)}"
        )
    rows = (dataset.labelled & dataset.rows_with(modality)).nonzero().flatten()
    if not len(rows):
        raise ValueError(
            f"no labelled row has {modality}; a temperature is fitted on labels, so keep some"
        )
    logits = given[rows]
    broken = rows[~torch.isfinite(logits).all(dim=1)]
    if len(broken):
        raise ValueError(
            f"the cached logits of {modality} hold NaN or infinity in {len(broken)} labelled rows "
            f"(first: {dataset.ids[int(broken[0])]}); leave them out with subset(), or mark them "
            "in valid"
        )
    temperature = fit_temperature(logits, dataset.target[rows])
    scaled = (given.double() / temperature).to(given.dtype)
    outputs = replace(dataset.cached[modality], logits=scaled)
    return dataset.replace(cached={**dataset.cached, modality: outputs})
