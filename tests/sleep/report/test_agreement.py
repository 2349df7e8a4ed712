"""A night against its reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xdistill.metrics import score
from xdistill.sleep.report.agreement import agreement

pytest.importorskip("yasa")


def test_epochs_that_either_does_not_stage_are_left_out():
    found = np.array([0, 1, 2, 2, 4, 2, 4, -1])
    right = np.array([0, 0, 2, 2, 2, -1, 4, 3])
    one = agreement(found, right)
    assert (one.epochs, one.left_out) == (6, 2)
    assert one.accuracy == pytest.approx(4 / 6)
    assert one.confusion.tolist()[2] == [0, 0, 2, 0, 1] and one.confusion.sum() == 6
    assert one.recall[2] == pytest.approx(2 / 3) and one.precision[4] == pytest.approx(1 / 2)
    assert np.isnan(one.recall[1]) and np.isnan(one.f1[3])  # none in the reference, none at all


def test_the_scores_are_those_of_training():
    rng = np.random.default_rng(0)
    right = rng.integers(0, 5, 400)
    found = np.where(rng.random(400) < 0.7, right, rng.integers(0, 5, 400))
    one = agreement(found, right)
    logits = torch.nn.functional.one_hot(torch.as_tensor(found), 5).float()
    theirs = score(logits, torch.as_tensor(right), 5)
    assert one.accuracy == pytest.approx(theirs.accuracy, abs=1e-6)
    assert one.kappa == pytest.approx(theirs.kappa, abs=1e-6)
    assert one.macro_f1 == pytest.approx(theirs.macro_f1, abs=1e-6)
    assert one.confusion.tolist() == [list(row) for row in theirs.confusion]


def test_one_stage_throughout_has_no_kappa():
    one = agreement(np.zeros(9, int), np.zeros(9, int))
    assert one.accuracy == 1 and np.isnan(one.kappa)


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="no epoch has a stage in both"):
        agreement(np.array([0, -1]), np.array([-1, 0]))
    with pytest.raises(ValueError, match="both must cover the same"):
        agreement(np.array([0]), np.array([0, 0]))
