"""How predictors of the gain are judged: on sources of data that they have not seen."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def predictors(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("diagnosis_gains.predictors")


@pytest.fixture
def gains(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("diagnosis_gains.gains")


def entry(source: str, probe_gain: float, gain: float) -> dict:
    """One labelled row in 2 ** (1 + probe_gain)."""
    return {
        "setting": f"{source}-x",
        "gain": gain,
        "rows": 100,
        "labelled": 50 / 2**probe_gain,
        "student_probe": {"0.5": 0.4, "1.0": 0.5},
        "distilled_probe": 0.5 + probe_gain,
        "both_probe": 0.6,
        "teacher": 0.8,
        "teacher_information": 2.0,
        "label_information": 1.0,
    }


def test_a_source_is_foretold_by_the_others_alone(predictors):
    """Two sources lie on gain = x, the third on gain = 3 − x: it is foretold by gain = x."""
    sources = ["a", "a", "b", "b", "c", "c"]
    x = np.array([0.0, 1.0, 2.0, 3.0, 0.5, 1.5])
    gain = np.array([0.0, 1.0, 2.0, 3.0, 2.5, 1.5])
    entries = [{"setting": f"{one}-x"} for one in sources]
    assert predictors.left_out(entries, gain, x)[4:] == pytest.approx([0.5, 1.5])


def test_every_source_weighs_the_same_whatever_its_number_of_conditions(predictors):
    entries = [{"setting": "a"}] * 9 + [{"setting": "b"}, {"setting": "c"}]
    gain = np.array([1.0] * 9 + [3.0, 7.0])
    assert predictors.left_out(entries, gain, np.zeros(11))[-1] == pytest.approx(2.0)


def test_the_predictor_that_is_right_is_seen_to_be(predictors):
    rng = np.random.default_rng(0)
    entries = [
        entry(source, x, 0.02 + 0.5 * x)
        for source in "abcd"
        for x in rng.uniform(0, 0.4, 6).tolist()
    ]
    table = predictors.compared(entries)
    assert table["probe gain"]["rank_correlation"] == 1
    assert table["probe gain"]["mean_absolute_error"] == 0
    assert table["mean of the others"]["mean_absolute_error"] > 0.03
    fit = predictors.final_fit(entries)
    assert (fit.intercept, fit.slope) == (pytest.approx(-0.48), pytest.approx(0.5))
    assert fit.low == pytest.approx(0) and fit.high == pytest.approx(0)


def test_gains_are_of_the_trial_that_validation_prefers(gains, tmp_path):
    columns = "setting method case seed labels groups missing epochs"
    columns += " val_macro_f1 test_macro_f1 error"
    rows = [
        ("s-x", "labelled", "in_sample", 0, 0.1, "", 0, 1, 0.5, 0.4, ""),
        ("s-x", "labelled", "in_sample", 0, 0.1, "", 0, 1, 0.4, 0.9, ""),  # better on test alone
        ("s-x", "labelled", "in_sample", 0, 0.1, "", 0, 2, 0.9, 0.9, ""),  # twice the epochs
        ("s-x", "recipe", "transfer", 0, 0.1, "", 0, 1, 0.7, 0.6, ""),
        ("s-x", "recipe", "transfer", 0, 0.1, "", 0.3, 1, 0.9, 0.9, ""),  # missing teachers
        ("s-x", "recipe", "transfer", 0, 0.1, "", 0, 1, 0.9, 0.9, "failed"),
        ("s-x", "recipe", "transfer", 0, 1, 2, 0, 1, 0.9, 0.9, ""),  # nothing to compare with
    ]
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns.split(), *rows])
    found = gains.gains_of(tmp_path / "runs.csv")
    assert found == {gains.Condition("s-x", "transfer", 0.1, None): [pytest.approx(0.2)]}
