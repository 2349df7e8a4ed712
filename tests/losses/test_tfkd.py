from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from scipy.special import softmax as scipy_softmax
from torch.nn import functional as F

from tests.losses.batches import random_batch
from tests.losses.loops import close, gradcheck, mean, rows64, softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.cross_entropy import cross_entropy
from xdistill.losses.tfkd import TfKD, artificial_teacher, tfkd

LABELS = [[0, 1, 2, 3, 0], [0, -1, -1, 3, 2], [-1] * 5]


def twin(student, target, correct, temperature, official):
    values = []
    for z, y in zip(student.tolist(), target, strict=True):
        if y < 0:
            continue
        p_d = [correct if k == y else (1 - correct) / (len(z) - 1) for k in range(len(z))]
        if official:
            soft, p_s = softmax([p / temperature for p in p_d]), softmax(z)
        else:
            powers = [p ** (1 / temperature) for p in p_d]
            soft = [p / sum(powers) for p in powers]
            p_s = softmax([logit / temperature for logit in z])
        values.append(sum(d * math.log(d / s) for d, s in zip(soft, p_s, strict=True)))
    return mean(values) * (1 / student.shape[1] if official else temperature**2)


def test_closed_form():
    # a = 0.9 of two classes at T = 2: roots 3 to 1, so 3/4 and 1/4 against a student of 1/2.
    value = tfkd(torch.zeros(1, 2), torch.tensor([1]), correct=0.9, temperature=2.0)
    exact = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    torch.testing.assert_close(value, torch.tensor(exact))


def test_closed_form_official():
    # softmax(0.9/2, 0.1/2) = σ(0.4) against σ(0) = 1/2, divided by K = 2.
    value = tfkd(torch.zeros(1, 2), torch.tensor([1]), 0.9, 2.0, official=True)
    p = 1 / (1 + math.exp(-0.4))
    exact = (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))) / 2
    torch.testing.assert_close(value, torch.tensor(exact))


@pytest.mark.parametrize("target", LABELS)
@pytest.mark.parametrize(("correct", "temperature"), [(0.99, 20.0), (0.9, 1.0)])
@pytest.mark.parametrize("official", [False, True])
def test_twin(target, correct, temperature, official):
    student = 3 * rows64(5, 4)
    close(
        tfkd(student, torch.tensor(target), correct, temperature, official),
        twin(student, target, correct, temperature, official),
    )


@pytest.mark.parametrize("official", [False, True])
def test_gradcheck(official):
    target = torch.tensor([0, -1, 2])
    gradcheck(lambda z: tfkd(z, target, official=official), rows64(3, 4))


def test_the_artificial_teacher():
    p_d = artificial_teacher(rows64(2, 4), torch.tensor([2, 0]), correct=0.97).exp()
    expected = torch.tensor([[0.01, 0.01, 0.97, 0.01], [0.97, 0.01, 0.01, 0.01]])
    torch.testing.assert_close(p_d, expected.double())


def test_softening_is_that_of_the_papers_figure_3():
    """There, with ten classes at T = 20, the label has about 0.15 and the others 0.095 each.

    The public code's softmax(p_d/T) gives at most 0.105 whatever a is; powers of p_d reach 0.15.
    """
    artificial = artificial_teacher(rows64(1, 10), torch.tensor([5]), correct=0.999)
    ours, codes = (artificial / 20).softmax(dim=1), (artificial.exp() / 20).softmax(dim=1)
    close(ours[0, [5, 0]].round(decimals=3)[0], 0.149)
    close(ours[0, [5, 0]].round(decimals=3)[1], 0.095)
    close(codes[0, 5].round(decimals=3), 0.105)


def test_at_temperature_1_its_gradient_is_that_of_label_smoothing():
    # torch spreads ε over all K classes: the label keeps 1 − ε + ε/K = a for ε = (1 − a)K/(K − 1).
    logits, target = rows64(5, 4).requires_grad_(), torch.tensor([0, 1, 2, -1, 3])
    smooth = cross_entropy(logits, target, label_smoothing=0.04 * 4 / 3)
    (expected,) = torch.autograd.grad(smooth, logits)
    (gradient,) = torch.autograd.grad(tfkd(logits, target, 0.96, temperature=1.0), logits)
    torch.testing.assert_close(gradient, expected)


def test_it_is_zero_at_the_artificial_teachers_gap():
    gap = math.log(0.99 * 3 / 0.01)
    logits = gap * F.one_hot(torch.tensor([0, 3]), 4).double()
    close(tfkd(logits, torch.tensor([0, 3])), 0.0)
    assert tfkd(logits - 1 * F.one_hot(torch.tensor([0, 3]), 4), torch.tensor([0, 3])) > 1e-3
    assert tfkd(logits + 1 * F.one_hot(torch.tensor([0, 3]), 4), torch.tensor([0, 3])) > 1e-3


def test_the_teacher_does_not_matter():
    batch = random_batch()
    missing = torch.zeros(6, dtype=torch.bool)
    nothing = batch.teacher.map(lambda tensor: torch.full_like(tensor, math.nan))
    for official in (False, True):
        loss = TfKD(official=official)
        value = loss(batch.student, nothing, batch.target, valid=missing)
        expected = tfkd(batch.student.logits, batch.target, official=official)
        torch.testing.assert_close(value, expected)


def test_one_class_is_zero():
    close(tfkd(rows64(3, 1), torch.tensor([0, 0, -1])), 0.0)


def test_options():
    for correct in (0.5, 1.0, 1.5):
        with pytest.raises(ValueError, match=r"correct must lie between 0.5 and 1, got"):
            TfKD(correct=correct)
    with pytest.raises(ValueError, match="tfkd: temperature must be a finite number above 0"):
        TfKD(temperature=0.0)


@pytest.mark.parametrize("official", [False, True])
def test_parity_with_scipy(official):
    target = torch.tensor([0, 3, 1, 2])
    p_d = np.where(np.eye(4)[target.numpy()] > 0, 0.99, 0.01 / 3)

    def theirs(student):
        if official:
            soft, p_s = scipy_softmax(p_d / 20, axis=1), scipy_softmax(student, axis=1)
            return rel_entr(soft, p_s).mean()  # over rows and classes
        soft = p_d**0.05 / (p_d**0.05).sum(axis=1, keepdims=True)
        return 400 * rel_entr(soft, scipy_softmax(student / 20, axis=1)).sum(axis=1).mean()

    agree_with_numpy(lambda z: tfkd(z, target, official=official), theirs, 3 * rows64(4, 4))
