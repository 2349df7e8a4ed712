"""A staged night against a reference hypnogram, with YASA."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from xdistill.data.sleep_stages import STAGES
from xdistill.extras import import_extra
from xdistill.sleep.report.statistics import UNSCORED

YASA_STAGES = np.array(("WAKE", "N1", "N2", "N3", "REM", "UNS"), dtype=object)
"""YASA's names in the order of `STAGES`; the last is that of -1."""


class Agreement(NamedTuple):
    """How far two hypnograms of one night agree, on the epochs to which both give a stage.

    Attributes:
        epochs: compared.
        left_out: to which one of the two gives no stage.
        accuracy: share of the epochs on which they agree.
        kappa: Cohen's; NaN where both have the same one stage throughout.
        macro_f1: mean F1 of the stages that occur in either.
        f1: by stage; NaN for one that occurs in neither.
        recall: by stage, of the reference's epochs; NaN for one that it does not have.
        precision: by stage, of the student's epochs; NaN for one that it does not have.
        confusion: int [5, 5], reference by student.
    """

    epochs: int
    left_out: int
    accuracy: float
    kappa: float
    macro_f1: float
    f1: tuple[float, ...]
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    confusion: np.ndarray


def agreement(found: np.ndarray, reference: np.ndarray) -> Agreement:
    """Epoch-by-epoch agreement of two hypnograms [E] on the same epochs, -1 where there is none.

    Raises:
        ValueError: other lengths, or no epoch with a stage in both.
        ImportError: YASA is missing.
    """
    if found.shape != reference.shape or found.ndim != 1:
        raise ValueError(
            f"the night has {found.shape} epochs and its reference {reference.shape}; both must "
            "cover the same ones"
        )
    both = (found != UNSCORED) & (reference != UNSCORED)
    if not both.any():
        raise ValueError(
            "no epoch has a stage in both the night and the reference; look at the times of the "
            "reference hypnogram"
        )
    made = _yasa_agreement(found, reference)
    confusion = np.zeros((len(STAGES), len(STAGES)), int)
    np.add.at(confusion, (reference[both], found[both]), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's of a single stage: kappa is NaN then
        by_stage = made.get_agreement_bystage()
        overall = made.get_agreement(scorers=["accuracy", "cohen_kappa"])
    scores = {
        column: tuple(
            float(by_stage.loc[name, column]) / 100 if name in by_stage.index else float("nan")
            for name in YASA_STAGES[:-1]
        )
        for column in ("fbeta", "recall", "precision")
    }
    return Agreement(
        int(both.sum()),
        int((~both).sum()),
        float(overall["accuracy"]),
        float(overall["cohen_kappa"]),
        float(np.nanmean(scores["fbeta"])),
        scores["fbeta"],
        scores["recall"],
        scores["precision"],
        confusion,
    )


def _yasa_agreement(found: np.ndarray, reference: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of YASA's libraries
        warnings.simplefilter("ignore", FutureWarning)
        yasa = import_extra("yasa", "sleep", "a comparison with a reference hypnogram")
    scorers = {"reference": reference, "student": found}
    made = [
        yasa.Hypnogram(YASA_STAGES[stages], n_stages=5, scorer=name)
        for name, stages in scorers.items()
    ]
    return yasa.EpochByEpochAgreement(made[:1], made[1:])
