"""Which trials are run, and which of them is reported."""

from tests.experiment.scores import result
from xdistill.experiment import ALONE, Failure, Setting, Trial
from xdistill.experiment.search import FACTORS, best, chosen_trials, curves, search, searches


def settings(own_splits: bool) -> dict[str, Setting]:
    def load(root, split):
        raise AssertionError("no data is needed")

    return {"a": Setting(load, {"teacher": "mlp"}, "student", own_splits=own_splits)}


def test_of_equal_trials_the_first_is_best_and_failed_ones_are_none():
    trials = [Trial("a", "kd", 0, strength=s) for s in (1.0, 2.0, 3.0)]
    done = {t: result(val=v) for t, v in zip(trials, (0.5, 0.5, 0.4), strict=True)}
    assert best(trials, done) == trials[0]
    assert best(trials, {trials[0]: Failure("x", 1.0), trials[2]: done[trials[2]]}) == trials[2]
    assert best(trials, {trials[0]: Failure("x", 1.0)}) is None


def test_a_method_takes_over_the_learning_rate_of_the_student_alone():
    alone = search("a", ALONE, 0)
    done = {trial: result(val=value) for trial, value in zip(alone, (0.1, 0.3, 0.2), strict=True)}
    found = list(searches(settings(False), ("kd",), (0, 1), done))
    assert [(one.lr_factor, one.strength) for one in found] == [(1 / 3, one) for one in FACTORS]
    done |= {trial: result(val=0.5 - trial.strength / 10) for trial in found}
    chosen = chosen_trials(settings(False), (ALONE, "kd"), (0, 1), done)
    assert chosen["a", ALONE, 1] == Trial("a", ALONE, 1, 1 / 3)
    assert chosen["a", "kd", 1] == Trial("a", "kd", 1, 1 / 3, 1 / 3)


def test_with_splits_of_their_own_every_seed_searches():
    found = list(searches(settings(True), (ALONE,), (0, 1), {}))
    assert [one.seed for one in found] == [0, 0, 0, 1, 1, 1]
    done = {one: result(val=one.lr_factor * (1 - 2 * one.seed)) for one in found}
    chosen = chosen_trials(settings(True), (ALONE,), (0, 1), done)
    assert [chosen["a", ALONE, seed].lr_factor for seed in (0, 1)] == [3.0, 1 / 3]


def test_where_the_student_alone_failed_nothing_is_searched():
    done = {trial: Failure("x", 1.0) for trial in search("a", ALONE, 0)}
    assert not list(searches(settings(False), ("kd",), (0,), done))
    assert not chosen_trials(settings(False), (ALONE, "kd"), (0,), done)


def test_curves_have_the_student_alone_with_every_share_of_labels():
    chosen = {("a", ALONE, 0): Trial("a", ALONE, 0, 3.0)}
    found = list(curves(settings(False), ("kd",), (0, 1), chosen, (0.1,), (0.5,)))
    assert {(one.method, one.labels, one.missing) for one in found} == {
        (ALONE, 1.0, 0.0),
        (ALONE, 0.1, 0.0),
        ("kd", 1.0, 0.0),
        ("kd", 0.1, 0.0),
        ("kd", 1.0, 0.5),
    }
    assert {(one.seed, one.lr_factor, one.strength) for one in found} == {(0, 3.0, 1.0)}
    assert not list(curves(settings(False), ("kd",), (0,), chosen, (), ()))
