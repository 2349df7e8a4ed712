"""Ranks and curves from results."""

import numpy as np
import pytest
from scipy import stats

from tests.experiment.scores import result
from xdistill.experiment import Failure, TeacherTrial, Trial, get_setting
from xdistill.experiment.summary import Suite, ranks, summary


def test_ranks_are_those_of_demsar():
    """Friedman's statistic and Nemenyi's critical difference, from their formulas."""
    rng = np.random.default_rng(0)
    score = rng.random((6, 4))
    methods = ("student", "a", "b", "c")
    settings = {
        f"set{row}": {"methods": {m: {"macro_f1": score[row, k]} for k, m in enumerate(methods)}}
        for row in range(6)
    }
    found = ranks(settings, methods)
    expected = [[1 + int((row > value).sum()) for value in row] for row in score]
    assert [found["each"][m] for m in methods] == np.array(expected).T.tolist()
    mean = np.mean(expected, axis=0)
    assert list(found["mean"].values()) == pytest.approx(mean)
    statistic = 12 * 6 / (4 * 5) * (np.sum(mean**2) - 4 * 25 / 4)
    assert found["friedman_p"] == pytest.approx(stats.chi2.sf(statistic, 3))
    assert found["critical_difference"] == pytest.approx(2.569 * (4 * 5 / (6 * 6)) ** 0.5, rel=1e-3)
    del settings["set0"]["methods"]["c"]
    assert "set0" not in ranks(settings, methods)["settings"]


def test_points_of_a_curve_are_paired_with_the_student_that_has_as_many_labels():
    name = "mfh_gaussian"
    macro_f1 = {
        ("student", 1.0, 0.0): (0.8, 0.7),
        ("student", 0.1, 0.0): (0.5, 0.4),
        ("kd", 1.0, 0.0): (0.7, 0.9),
        ("kd", 0.1, 0.0): (0.6, 0.7),
        ("kd", 1.0, 0.9): (0.6, None),  # a run that failed
    }
    done: dict = {TeacherTrial(name, "teacher", 0): Failure("x", None)}
    for (method, labels, missing), values in macro_f1.items():
        for seed, value in enumerate(values):
            trial = Trial(name, method, seed, labels=labels, missing=missing)
            done[trial] = Failure("x", None) if value is None else result(test=value)
    curves = tuple(one for one in done if isinstance(one, Trial))
    settings = {name: get_setting(name)}
    suite = Suite(settings, ("student", "kd"), (0,), {}, curves, done)
    found = summary(suite)["curves"][name]
    assert list(found["labels"]) == ["student", "kd"] and list(found["missing"]) == [
        "student",
        "kd",
    ]
    few, all_labels = found["labels"]["kd"]["0.1"], found["labels"]["kd"]["1"]
    assert (
        few["mean"] == pytest.approx(0.65) and "difference" not in found["labels"]["student"]["1"]
    )
    assert few["difference"]["mean"] == pytest.approx((0.1 + 0.3) / 2)
    expected = stats.ttest_rel((0.6, 0.7), (0.5, 0.4)).pvalue
    assert few["difference"]["p_value"] == pytest.approx(expected)
    assert all_labels["difference"]["mean"] == pytest.approx((-0.1 + 0.2) / 2)
    assert found["missing"]["kd"]["0"] == all_labels
    assert found["missing"]["kd"]["0.9"]["mean"] == 0.6
    assert "difference" not in found["missing"]["kd"]["0.9"]
