"""Ranks, differences and curves from results."""

import numpy as np
import pytest
from scipy import stats

from tests.experiment.scores import result
from xdistill.experiment import ALONE, BASELINES, Failure, TeacherTrial, Trial, get_setting
from xdistill.experiment.search import Plan
from xdistill.experiment.suite_runs import Suite
from xdistill.experiment.suite_tables import (
    curves_table,
    ranks_table,
    room_table,
    setting_table,
    twice_table,
)
from xdistill.experiment.summary import ranks, summary

NAME, CASE = "mfh_gaussian", "transfer"


def plan(methods=(ALONE, "labelled", "pseudo_label", "dist")) -> Plan:
    return Plan({NAME: get_setting(NAME)}, methods, (0, 1), (CASE, "in_sample"), 0.1)


def suite(asked: Plan, done: dict, **parts) -> Suite:
    given = {"chosen": {}, "bound": {}, "curves": {}, "twice": (), **parts}
    return Suite(asked, BASELINES, **given, done=done)


def test_ranks_are_those_of_demsar():
    """Friedman's statistic and Nemenyi's critical difference, from their formulas."""
    rng = np.random.default_rng(0)
    score = rng.random((6, 4))
    methods = ("student", "a", "b", "c")
    settings = {
        f"set{row}": {
            "methods": {CASE: {m: {"macro_f1": score[row, k]} for k, m in enumerate(methods)}}
        }
        for row in range(6)
    }
    found = ranks(settings, CASE, methods)
    expected = [[1 + int((row > value).sum()) for value in row] for row in score]
    assert [found["each"][m] for m in methods] == np.array(expected).T.tolist()
    mean = np.mean(expected, axis=0)
    assert list(found["mean"].values()) == pytest.approx(mean)
    statistic = 12 * 6 / (4 * 5) * (np.sum(mean**2) - 4 * 25 / 4)
    assert found["friedman_p"] == pytest.approx(stats.chi2.sf(statistic, 3))
    assert found["critical_difference"] == pytest.approx(2.569 * (4 * 5 / (6 * 6)) ** 0.5, rel=1e-3)


def test_a_method_without_a_result_somewhere_has_no_rank():
    scores = {"student": 0.2, "a": 0.4, "b": 0.3, "c": 0.9}
    settings = {
        name: {"methods": {CASE: {m: {"macro_f1": v} for m, v in scores.items()}}}
        for name in ("one", "two")
    }
    settings["failed"] = {"methods": {CASE: {}}}
    del settings["two"]["methods"][CASE]["c"]
    found = ranks(settings, CASE, tuple(scores))
    assert found["mean"] == {"student": 3, "a": 1, "b": 2}
    assert found["settings"] == ["one", "two"] and found["left_out"] == ["c"]


VALUES = {  # macro-F1 on test of the two seeds
    "student": (0.50, 0.40),
    "labelled": (0.62, 0.60),
    "pseudo_label": (0.50, 0.70),
    "dist": (0.72, 0.71),
}
BOUND = (0.80, 0.90)


def main_runs() -> tuple[Plan, dict, dict, dict]:
    """The plan, the chosen trials, the bounds and what is done; in_sample is 0.1 better."""
    asked, chosen, done = plan(), {}, {}
    for case, more in ((CASE, 0.0), ("in_sample", 0.1)):
        for method, values in VALUES.items():
            for seed, value in enumerate(values):
                trial = Trial(NAME, method, seed, 3.0, labels=0.1, case=case)
                chosen[NAME, case, method, seed] = trial
                taught = method not in ("student", "labelled")
                done[trial] = result(test=value + (more if taught else 0))
    bound = {(NAME, seed): Trial(NAME, ALONE, seed, 3.0) for seed in (0, 1)}
    done |= {bound[NAME, seed]: result(test=BOUND[seed]) for seed in (0, 1)}
    return asked, chosen, bound, done


def test_differences_are_those_of_the_seeds():
    asked, chosen, bound, done = main_runs()
    done[TeacherTrial(NAME, "teacher", 0, case=CASE)] = result(test=0.9)
    done[TeacherTrial(NAME, "teacher", 1, case=CASE)] = result(test=0.7)
    found = summary(suite(asked, done, chosen=chosen, bound=bound))
    setting = found["settings"][NAME]
    assert setting["labels"] == 0.1 and setting["bound"]["macro_f1"] == pytest.approx(0.85)
    assert setting["teachers"]["teacher"][CASE]["macro_f1"] == pytest.approx(0.8)
    assert "in_sample" not in setting["teachers"]["teacher"]  # it was not run
    # The means are 61 and 60 in the transfer case, 61 and 70 in-sample.
    assert setting["baseline"] == {CASE: "labelled", "in_sample": "pseudo_label"}
    dist = setting["methods"][CASE]["dist"]
    assert dist["difference"]["macro_f1"]["mean"] == pytest.approx((0.22 + 0.31) / 2)
    assert dist["difference_to_baseline"]["macro_f1"]["mean"] == pytest.approx((0.10 + 0.11) / 2)
    expected = stats.ttest_rel(VALUES["dist"], VALUES["labelled"]).pvalue
    assert dist["difference_to_baseline"]["macro_f1"]["p_value"] == pytest.approx(expected)
    in_sample = setting["methods"]["in_sample"]["dist"]["difference_to_baseline"]["macro_f1"]
    assert in_sample["mean"] == pytest.approx((0.22 + 0.01) / 2)
    assert "difference_to_baseline" not in setting["methods"][CASE]["labelled"]
    assert "difference" not in setting["methods"][CASE]["student"]
    assert dist["test"]["macro_f1"] == list(VALUES["dist"]) and dist["lr_factor"] == [3.0, 3.0]
    assert dist["f1_per_class"] == pytest.approx([0.715, 0.715])
    assert setting["room"][CASE]["mean"] == pytest.approx((0.08 + 0.19) / 2)
    assert setting["room"]["in_sample"]["mean"] == pytest.approx((0.08 + 0.19) / 2 - 0.1)
    counts = found["counts"][CASE]["dist"]
    assert counts["difference_to_baseline"] == {"settings": 1, "better": 1, "worse": 0}
    student = found["counts"][CASE]["student"]["difference_to_baseline"]
    assert student == {"settings": 1, "better": 0, "worse": 0}  # −12 and −20, not clear


def test_a_method_with_a_failed_seed_has_no_entry_and_is_no_baseline():
    asked, chosen, bound, done = main_runs()
    done[chosen[NAME, CASE, "labelled", 1]] = Failure("x", None)
    found = summary(suite(asked, done, chosen=chosen, bound=bound))
    setting = found["settings"][NAME]
    assert setting["baseline"][CASE] == "pseudo_label"
    assert "labelled" not in setting["methods"][CASE]
    assert [(one["method"], one["seed"]) for one in found["failures"]] == [("labelled", 1)]


def test_what_twice_the_epochs_add():
    asked, chosen, bound, done = main_runs()
    longer = [Trial(NAME, ALONE, seed, 3.0, epochs=2.0) for seed in (0, 1)]
    longer += [Trial(NAME, "dist", seed, 3.0, labels=0.1, case=CASE, epochs=2.0) for seed in (0, 1)]
    values = (0.81, 0.93, 0.70, 0.75)
    done |= {one: result(test=value) for one, value in zip(longer, values, strict=True)}
    found = summary(suite(asked, done, chosen=chosen, bound=bound, twice=tuple(longer)))
    twice = found["settings"][NAME]["twice"]
    assert twice["bound"]["mean"] == pytest.approx((0.01 + 0.03) / 2)
    assert twice["dist"]["mean"] == pytest.approx((-0.02 + 0.04) / 2)
    assert twice["dist"]["once"] == pytest.approx(0.715)
    row = twice_table(found).splitlines()[2]
    assert row.startswith(f"| {NAME} | 85.0 | +2.0 ± ") and "| 71.5 | +1.0 ± " in row


def test_the_tables_show_what_the_json_says():
    asked, chosen, bound, done = main_runs()
    found = summary(suite(asked, done, chosen=chosen, bound=bound))
    lines = setting_table(found, NAME).splitlines()
    assert "minus best baseline (labelled)" in lines[0] and "(pseudo_label)" in lines[0]
    names = [line.split(" | ")[0] for line in lines[2:]]
    assert names[1:] == ["| all labels", "| student", "| dist", "| pseudo_label", "| labelled"]
    dist = next(line for line in lines if line.startswith("| dist")).split(" | ")
    assert dist[1].startswith("71.5 ± ") and dist[2].startswith("+26.5 ± ")
    assert dist[3].startswith("**+10.5 ± ") and dist[4].startswith("81.5")
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    room = room_table(found).splitlines()[2]
    assert room.startswith(f"| {NAME} | 85.0 ± ") and "| +13.5 ± " in room
    assert ranks_table(found, CASE) == "" == twice_table(found)  # of one setting, and not run
    found["ranks"][CASE] = {"mean": {"dist": 1.0}, "each": {"dist": [1]}, "settings": [NAME]}
    cells = ranks_table(found, CASE).splitlines()[2].split(" | ")
    assert cells == ["| dist", "1.0", "0", "0", "1", "0", "1 |"]


CURVE = {
    ("student", 1.0, 0.0): (0.8, 0.7),
    ("student", 0.1, 0.0): (0.5, 0.4),
    ("labelled", 0.1, 0.0): (0.55, 0.5),
    ("labelled", 1.0, 0.0): (0.8, 0.75),
    ("pseudo_label", 0.1, 0.0): (0.65, 0.6),
    ("pseudo_label", 1.0, 0.0): (0.7, 0.7),
    ("dist", 1.0, 0.0): (0.7, 0.9),
    ("dist", 0.1, 0.0): (0.6, 0.7),
    ("pseudo_label", 0.1, 0.9): (0.5, 0.5),
    ("dist", 0.1, 0.9): (0.6, 0.554),
}


def with_curves(values: dict) -> dict:
    done, along = {}, {"rows": [], "missing": []}
    for (method, labels, missing), scores in values.items():
        for seed, value in enumerate(scores):
            trial = Trial(NAME, method, seed, labels=labels, missing=missing, case=CASE)
            done[trial] = Failure("x", None) if value is None else result(test=value)
            if missing == 0:
                along["rows"].append(trial)
            if labels == 0.1:
                along["missing"].append(trial)
    curves = {(NAME, CASE, kind): trials for kind, trials in along.items()}
    return summary(suite(plan(), done, curves=curves))


def test_points_of_a_curve_are_paired_with_the_student_and_the_best_baseline_there():
    found = with_curves(CURVE)
    curves = found["curves"][NAME][CASE]
    few, whole = curves["rows"]["dist"]["0.1"], curves["rows"]["dist"]["1"]
    assert few["mean"] == pytest.approx(0.65) and few["baseline"] == "pseudo_label"
    assert few["difference"]["mean"] == pytest.approx((0.1 + 0.3) / 2)
    assert few["difference_to_baseline"]["mean"] == pytest.approx((-0.05 + 0.1) / 2)
    expected = stats.ttest_rel((0.6, 0.7), (0.5, 0.4)).pvalue
    assert few["difference"]["p_value"] == pytest.approx(expected)
    assert whole["baseline"] == "labelled"
    assert whole["difference_to_baseline"]["mean"] == pytest.approx((-0.1 + 0.15) / 2)
    assert "difference" not in curves["rows"]["student"]["1"]
    assert "difference_to_baseline" not in curves["rows"]["labelled"]["1"]
    # Without a teacher nothing changes, however many rows lack it.
    assert list(curves["missing"]["labelled"]) == ["0"]
    without = curves["missing"]["dist"]["0.9"]
    assert without["baseline"] == "labelled"
    assert without["difference_to_baseline"]["mean"] == pytest.approx((0.05 + 0.054) / 2)
    assert without["difference"]["mean"] == pytest.approx((0.1 + 0.154) / 2)
    line = curves_table(found, CASE, "missing").splitlines()
    assert line[0] == "|  |  | 0 % | 90 % |" and line[-1].endswith("57.7 ± 29.2 + |")
    assert curves_table(found, CASE, "subjects") == curves_table(found, "in_sample", "rows") == ""


def test_a_failed_run_leaves_its_point_without_a_difference():
    found = with_curves(
        {**CURVE, ("dist", 0.1, 0.9): (0.6, None), ("pseudo_label", 0.1, 0.0): (0.9, None)}
    )["curves"][NAME][CASE]
    assert found["missing"]["dist"]["0.9"]["mean"] == 0.6
    assert not {"difference", "difference_to_baseline"} & set(found["missing"]["dist"]["0.9"])
    assert found["rows"]["dist"]["0.1"]["baseline"] == "labelled"
