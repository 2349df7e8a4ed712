from __future__ import annotations

import math

import pytest
import torch

import xdistill as xd
from tests.losses.batches import random_batch
from tests.losses.loops import close, gradcheck, mean, rows64, softmax
from xdistill.losses.cross_entropy import (
    CrossEntropy,
    balanced_weights,
    cross_entropy,
    soft_cross_entropy,
)


def twin(logits, target, smoothing):
    values = []
    for z, y in zip(logits.tolist(), target, strict=True):
        if y >= 0:
            p = softmax(z)
            values.append(
                -(1 - smoothing) * math.log(p[y]) - smoothing * mean([math.log(q) for q in p])
            )
    return mean(values)


def test_closed_form():
    logits = torch.tensor([[math.log(3.0), 0.0], [9.0, 9.0]])
    value = cross_entropy(logits, torch.tensor([1, -1]))
    torch.testing.assert_close(value, torch.tensor(math.log(4.0)))


@pytest.mark.parametrize("target", [[0, 1, 2, 0, 1], [0, -1, -1, 3, 2], [-1] * 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_twin(target, smoothing):
    logits = rows64(5, 4)
    value = cross_entropy(logits, torch.tensor(target), smoothing)
    close(value, twin(logits, target, smoothing))


def test_gradcheck():
    target = torch.tensor([0, -1, 2])
    gradcheck(lambda z: cross_entropy(z, target, 0.1), rows64(3, 4))


def test_a_missing_teacher_does_not_take_the_label_away():
    batch = random_batch()
    missing = torch.zeros(6, dtype=torch.bool)
    value = CrossEntropy()(batch.student, batch.teacher, batch.target, valid=missing)
    torch.testing.assert_close(value, cross_entropy(batch.student.logits, batch.target))


WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("target", [[0, 1, 2, 0, 1], [0, -1, -1, 3, 2], [-1] * 5, [2] * 5])
def test_weights_of_classes_are_those_of_torch(target):
    logits, labels = rows64(5, 4), torch.tensor(target)
    value = cross_entropy(logits, labels, 0.1, WEIGHTS)
    theirs = torch.nn.functional.cross_entropy(
        logits, labels, WEIGHTS, ignore_index=-1, label_smoothing=0.1
    )
    torch.testing.assert_close(value, theirs.nan_to_num(0.0, 0.0))  # theirs divides by 0
    if min(target) >= 0:
        hot = torch.nn.functional.one_hot(labels, 4).double()
        torch.testing.assert_close(soft_cross_entropy(logits, hot, 0.1, WEIGHTS), value)


def test_balanced_classes_weigh_the_same():
    data = xd.PairedDataset(
        {"a": torch.zeros(8, 1)}, [0, 0, 0, 0, 0, 1, -1, -1], classes=("x", "y", "z")
    )
    loss = CrossEntropy.balanced(data, label_smoothing=0.1)
    assert loss.weight == pytest.approx((6 / 15, 6 / 3, 0.0)) and loss.label_smoothing == 0.1
    assert type(loss)(**loss.options).weight == loss.weight
    sums = [loss.weight[k] * int((data.target == k).sum()) for k in (0, 1)]
    assert sums[0] == pytest.approx(sums[1])


def test_wrong_weights_are_told_of():
    batch = random_batch()
    with pytest.raises(ValueError, match="weights of 2 classes, the student 3 logits"):
        CrossEntropy(weight=[1.0, 2.0])(batch.student, batch.teacher, batch.target)
    with pytest.raises(ValueError, match=r"weight\[1\] must be a finite number of at least 0"):
        CrossEntropy(weight=[1.0, math.nan])
    with pytest.raises(ValueError, match=r"use CrossEntropy.balanced\(train\)"):
        CrossEntropy(weight="balanced")
    with pytest.raises(ValueError, match="balanced weights need the classes of labelled rows"):
        balanced_weights(torch.tensor([-1, -1]), 2)
