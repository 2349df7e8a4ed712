"""Which trials are run, and which of them is reported."""

from dataclasses import replace

from tests.experiment.scores import result
from xdistill.experiment import ALONE, LABELLED, Failure, Setting, Trial
from xdistill.experiment.search import (
    FACTORS,
    Curves,
    Plan,
    best,
    bounds,
    chosen_trials,
    curves,
    search,
    searches,
    teachers,
    twice,
)

CASES = ("cross_fitted", "transfer")


def plan(methods=(ALONE, "kd"), seeds=(0, 1), own_splits=False, **options) -> Plan:
    def load(root, split):
        raise AssertionError("no data is needed")

    setting = Setting(load, {"teacher": "mlp"}, "student", own_splits=own_splits, few_labels=0.1)
    return Plan({"a": setting}, methods, seeds, **{"cases": CASES, **options})


def chosen_of(asked: Plan) -> dict:
    """What is chosen where every run is as good as every other."""
    done = {one: result() for one in searches(asked, (ALONE,), {})}
    done |= {one: result() for one in searches(asked, asked.methods[1:], done)}
    return chosen_trials(asked, done)


def test_of_equal_trials_the_first_is_best_and_failed_ones_are_none():
    trials = [Trial("a", "kd", 0, strength=s) for s in (1.0, 2.0, 3.0)]
    done = {t: result(val=v) for t, v in zip(trials, (0.5, 0.5, 0.4), strict=True)}
    assert best(trials, done) == trials[0]
    assert best(trials, {trials[0]: Failure("x", 1.0), trials[2]: done[trials[2]]}) == trials[2]
    assert best(trials, {trials[0]: Failure("x", 1.0)}) is None


def test_a_method_searches_in_the_first_case_and_all_cases_take_it_over():
    asked = plan()
    alone = search(asked, "a", ALONE, 0)
    assert [(one.lr_factor, one.labels) for one in alone] == [(one, 0.1) for one in FACTORS]
    done = {trial: result(val=value) for trial, value in zip(alone, (0.1, 0.3, 0.2), strict=True)}
    found = list(searches(asked, ("kd",), done))
    assert [(one.lr_factor, one.strength) for one in found] == [(1 / 3, one) for one in FACTORS]
    assert {(one.labels, one.case, one.seed) for one in found} == {(0.1, "cross_fitted", 0)}
    done |= {trial: result(val=0.5 - trial.strength / 10) for trial in found}
    chosen = chosen_trials(asked, done)
    assert chosen["a", "transfer", ALONE, 1] == Trial("a", ALONE, 1, 1 / 3, labels=0.1)
    for case in CASES:
        expected = Trial("a", "kd", 1, 1 / 3, 1 / 3, labels=0.1, case=case)
        assert chosen["a", case, "kd", 1] == expected
    assert {trial.labels for trial in chosen_of(plan(labels=0.3)).values()} == {0.3}


def test_both_baselines_without_a_teacher_search_their_learning_rates():
    asked = plan((ALONE, LABELLED, "kd"))
    assert [one.lr_factor for one in search(asked, "a", LABELLED, 0, 3.0)] == list(FACTORS)
    assert {len(search(asked, "a", method, 0)) for method in asked.methods} == {3}


def test_without_a_search_all_take_the_students_rate_and_their_own_weights():
    asked = plan((ALONE, LABELLED, "kd"), searching=False)
    done = {one: result(val=one.lr_factor) for one in searches(asked, (ALONE,), {})}
    assert len(done) == 3
    found = list(searches(asked, (LABELLED, "kd"), done))
    assert [(one.method, one.lr_factor, one.strength) for one in found] == [
        (LABELLED, 3.0, 1.0),
        ("kd", 3.0, 1.0),
    ]
    chosen = chosen_trials(asked, done | {one: result() for one in found})
    assert {trial.lr_factor for trial in chosen.values()} == {3.0}


def test_with_splits_of_their_own_every_seed_searches():
    asked = plan((ALONE,), own_splits=True)
    found = list(searches(asked, (ALONE,), {}))
    assert [one.seed for one in found] == [0, 0, 0, 1, 1, 1]
    done = {one: result(val=one.lr_factor * (1 - 2 * one.seed)) for one in found}
    chosen = chosen_trials(asked, done)
    assert [chosen["a", "transfer", ALONE, seed].lr_factor for seed in (0, 1)] == [3.0, 1 / 3]


def test_where_the_student_alone_failed_nothing_is_searched():
    asked = plan()
    done = {trial: Failure("x", 1.0) for trial in search(asked, "a", ALONE, 0)}
    assert not list(searches(asked, ("kd",), done)) and not chosen_trials(asked, done)


def test_every_case_has_its_teachers():
    found = [(one.seed, one.case) for case in CASES for one in teachers(plan(), case)]
    assert found == [(0, CASES[0]), (1, CASES[0]), (0, CASES[1]), (1, CASES[1])]


def test_the_bound_is_the_student_with_all_labels_at_its_rate():
    asked = plan()
    chosen = {key: replace(one, lr_factor=3.0) for key, one in chosen_of(asked).items()}
    assert bounds(asked, chosen) == {("a", seed): Trial("a", ALONE, seed, 3.0) for seed in (0, 1)}


def test_curves_begin_with_what_was_chosen():
    asked = plan((ALONE, "kd"), seeds=(0,))
    chosen = {key: replace(one, strength=3.0) for key, one in chosen_of(asked).items()}
    names = ("a",), (ALONE, "kd"), CASES
    found = curves(Curves(*names, (0.5, 1.0), (2, 9), (0.7,), {"a": 4}), chosen)
    points = {
        key: [(one.method, one.labels, one.groups, one.missing) for one in trials]
        for key, trials in found.items()
    }
    rows = [("kd", 0.1, None, 0.0), ("kd", 0.5, None, 0.0), ("kd", 1.0, None, 0.0)]
    alone = [(ALONE, *one[1:]) for one in rows]
    subjects = [(ALONE, 1.0, 2, 0.0), ("kd", 1.0, 2, 0.0)]
    assert points["a", "transfer", "rows"] == points["a", "cross_fitted", "rows"] == alone + rows
    assert points["a", "transfer", "subjects"] == points["a", "cross_fitted", "subjects"]
    assert points["a", "transfer", "subjects"] == subjects  # there are no nine subjects
    assert points["a", "cross_fitted", "missing"] == [alone[0], rows[0], ("kd", 0.1, None, 0.7)]
    assert ("a", "transfer", "missing") not in points
    assert {one.strength for trials in found.values() for one in trials} == {3.0}
    assert {one.case for one in found["a", "transfer", "rows"] if one.method == "kd"} == {
        "transfer"
    }
    assert not curves(Curves(*names), chosen)
    no_subjects = curves(Curves(*names, groups=(1,)), chosen)
    assert not no_subjects  # each row is its own
    assert not curves(Curves((), *names[1:], labels=(0.5,)), chosen)


def test_twice_the_epochs_of_bound_labelled_rows_and_dist_in_the_first_case():
    asked = plan((ALONE, LABELLED, "dist", "kd"), seeds=(0,))
    chosen = chosen_of(asked)
    found = twice(asked, chosen, bounds(asked, chosen))
    assert [(one.method, one.labels, one.case) for one in found] == [
        (ALONE, 1.0, "in_sample"),
        (LABELLED, 0.1, "in_sample"),
        ("dist", 0.1, "cross_fitted"),
    ]
    assert {one.epochs for one in found} == {2.0}
