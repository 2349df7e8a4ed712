from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.nkd import NKD, nkd

LABELS = [[0, 1, 2, 3, 0, 1], [0, -1, 2, -1, 3, 1]]


def twin(student, teacher, target, valid, gamma, temperature):
    values = []
    columns = kept(valid, student.tolist(), teacher.tolist(), target)
    for z_s, z_t, y in zip(*columns, strict=True):
        if y < 0:
            continue
        value = -softmax(z_t)[y] * math.log(softmax(z_s)[y])
        rest_s, rest_t = (
            softmax([z / temperature for i, z in enumerate(row) if i != y]) for row in (z_s, z_t)
        )
        for q_s, q_t in zip(rest_s, rest_t, strict=True):
            value -= gamma * temperature**2 * q_t * math.log(q_s)
        values.append(value)
    return mean(values)


def test_closed_form():
    # e^z_t = (2, 3/2, 1/2): p_t(y) = 1/2 and N(q_t) = (3/4, 1/4).
    # e^z_s = (1, 2, 1):     p_s(y) = 1/4 and N(q_s) = (2/3, 1/3).
    teacher = torch.tensor([[2.0, 1.5, 0.5]]).log()
    student = torch.tensor([[1.0, 2.0, 1.0]]).log()
    exact = 0.5 * math.log(4) + 1.5 * (0.75 * math.log(3 / 2) + 0.25 * math.log(3))
    torch.testing.assert_close(nkd(student, teacher, torch.tensor([0])), torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", LABELS)
@pytest.mark.parametrize(("gamma", "temperature"), [(1.5, 1.0), (0.5, 3.0)])
def test_twin(valid, target, gamma, temperature):
    student, teacher = 2 * rows64(6, 4), 3 * rows64(6, 4, seed=1)
    close(
        nkd(student, teacher, torch.tensor(target), optional(valid), gamma, temperature),
        twin(student, teacher, target, valid, gamma, temperature),
    )


def test_gradcheck():
    target, valid = torch.tensor([0, 1, -1, 2]), torch.tensor([True, False, True, True])
    gradcheck(lambda s, t: nkd(s, t, target, valid, 1.5, 2.0), rows64(4, 3), rows64(4, 3, seed=1))


def test_the_target_leaves_the_second_softmax():
    """With a teacher of p(y) = 0 the target's logits do not matter at all."""
    student, teacher, target = rows64(3, 4), rows64(3, 4, seed=1), torch.tensor([0, 0, 0])
    teacher[:, 0] = -1e4
    moved = student + torch.tensor([50.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(nkd(moved, teacher, target), nkd(student, teacher, target))


def test_its_least_value_is_an_entropy():
    teacher, target = rows64(1, 4), torch.tensor([2])
    rest = teacher[:, [0, 1, 3]].softmax(dim=1)
    least = 1.5 * -(rest * rest.log()).sum()
    best = teacher + 50 * torch.eye(4, dtype=torch.float64)[2]  # sure of y, the rest as the teacher
    torch.testing.assert_close(nkd(best, teacher, target), least)
    assert nkd(teacher, teacher, target) > least


def test_a_student_that_agrees_is_pushed_to_the_target_alone():
    logits, target = rows64(1, 4).requires_grad_(), torch.tensor([1])
    nkd(logits, logits.detach(), target).backward()
    p = logits.detach().softmax(dim=1)
    pull = p[0, 1] * (p - torch.eye(4, dtype=torch.float64)[1])
    torch.testing.assert_close(logits.grad, pull)


def test_saturated_logits():
    teacher = torch.tensor([[1e4, 0.0, -1e4]])
    student = torch.tensor([[-1e4, -1e4, 1e4]], requires_grad=True)
    value = nkd(student, teacher, torch.tensor([0]), gamma=1.0)
    value.backward()
    torch.testing.assert_close(value, torch.tensor(4e4))  # 2e4 of each term
    torch.testing.assert_close(student.grad, torch.tensor([[-1.0, -1.0, 2.0]]))


@pytest.mark.parametrize("classes", [1, 2])
def test_without_another_class_the_first_term_is_left(classes):
    student, teacher, target = rows64(3, classes), rows64(3, classes, seed=1), torch.tensor([0] * 3)
    first = nkd(student, teacher, target, gamma=0.0)
    torch.testing.assert_close(nkd(student, teacher, target), first)


def test_a_module_with_its_options():
    loss, batch = NKD(gamma=0.5, temperature=3.0), random_batch()
    logits = (batch.student.logits, batch.teacher.logits, batch.target)
    expected = nkd(*logits, gamma=0.5, temperature=3.0)
    torch.testing.assert_close(loss(batch.student, batch.teacher, batch.target), expected)
    with pytest.raises(ValueError, match="nkd: gamma must be a finite number of at least 0"):
        NKD(gamma=-1.0)
    with pytest.raises(ValueError, match="nkd: temperature must be a finite number above 0"):
        NKD(temperature=0.0)


def test_parity_with_scipy():
    target = torch.tensor([0, 3, 1, 2])
    hot = np.eye(4, dtype=bool)[target.numpy()]

    def theirs(student, teacher):
        first = scipy_softmax(teacher, axis=1)[hot] * log_softmax(student, axis=1)[hot]
        away = [np.where(hot, -np.inf, z / 2) for z in (student, teacher)]
        log_s, share_t = log_softmax(away[0], axis=1), scipy_softmax(away[1], axis=1)
        second = (share_t * np.where(hot, 0, log_s)).sum(axis=1)
        return -(first + 1.5 * 4 * second).mean()

    student, teacher = 2 * rows64(4, 4), 2 * rows64(4, 4, seed=1)
    agree_with_numpy(lambda s, t: nkd(s, t, target, temperature=2.0), theirs, student, teacher)
