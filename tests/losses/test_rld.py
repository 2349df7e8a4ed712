from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax as scipy_softmax

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.dkd import nckd
from xdistill.losses.rld import RLD, masked_correlation, rld, sample_confidence

LABELS = [[0, 1, 2, 3, 0, 1], [0, -1, 2, -1, 3, 1]]


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def twin(student, teacher, target, valid, alpha, beta, temperature):
    values = []
    columns = kept(valid, student.tolist(), teacher.tolist(), target)
    for z_s, z_t, y in zip(*columns, strict=True):
        if y < 0:
            continue
        sure, ours = (
            max(softmax([z / temperature for z in z_t])),
            softmax([z / temperature for z in z_s]),
        )
        value = alpha * divergence((sure, 1 - sure), (ours[y], 1 - ours[y]))
        below = [k for k in range(len(z_t)) if z_t[k] < z_t[y]]
        if below:
            p, q = (softmax([row[k] / temperature for k in below]) for row in (z_t, z_s))
            value += beta * divergence(p, q)
        values.append(temperature**2 * value)
    return mean(values)


def test_closed_form():
    # e^z_t = (3, 6, 2, 1), label 0: the teacher prefers class 1 and ranks 2 and 3 below the label.
    # max p_t = 1/2 and p̂_t = (2/3, 1/3). e^z_s = (1, 1, 1, 1): p_s(y) = 1/4, p̂_s = (1/2, 1/2).
    teacher, student = torch.tensor([[3.0, 6.0, 2.0, 1.0]]).log(), torch.zeros(1, 4)
    label = torch.tensor([0])
    first = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    second = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    value = rld(student, teacher, label, alpha=1.0, beta=8.0, temperature=1.0)
    torch.testing.assert_close(value, torch.tensor(first + 8 * second))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", LABELS)
@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(1.0, 8.0, 4.0), (0.5, 2.0, 1.0)])
def test_twin(valid, target, alpha, beta, temperature):
    student, teacher = 2 * rows64(6, 4), 3 * rows64(6, 4, seed=1)
    close(
        rld(student, teacher, torch.tensor(target), optional(valid), alpha, beta, temperature),
        twin(student, teacher, target, valid, alpha, beta, temperature),
    )


def test_gradcheck():
    target, valid = torch.tensor([0, 1, -1, 2]), torch.tensor([True, False, True, True])
    # of the student: the teacher's order is a step
    teacher = rows64(4, 3, seed=1)
    gradcheck(lambda s: rld(s, teacher, target, valid, 1.0, 8.0, 2.0), rows64(4, 3))


def test_where_the_teacher_is_right_the_second_term_is_that_of_dkd():
    student, teacher = rows64(5, 4), rows64(5, 4, seed=1)
    right = teacher.argmax(dim=1)
    torch.testing.assert_close(
        masked_correlation(student, teacher, right), nckd(student, teacher, right)
    )


def test_a_wrong_teachers_favourites_do_not_pull():
    teacher = torch.tensor([[1.0, 5.0, 4.0, 0.0, -1.0]], dtype=torch.float64)
    student = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    masked_correlation(student, teacher, torch.tensor([0])).backward()
    assert student.grad is not None and not student.grad[0, :3].any() and student.grad[0, 3:].all()


def test_a_label_that_the_teacher_finds_least_likely_leaves_the_confidence_alone():
    student, teacher = rows64(1, 4), torch.tensor([[-9.0, 1.0, 2.0, 3.0]], dtype=torch.float64)
    label = torch.tensor([0])
    close(masked_correlation(student, teacher, label), 0.0)
    torch.testing.assert_close(
        rld(student, teacher, label), sample_confidence(student, teacher, label)
    )


def test_saturated_logits():
    teacher = torch.tensor([[1e4, 0.0, -1e4]])
    student = torch.tensor([[-1e4, -1e4, 1e4]], requires_grad=True)
    value = rld(student, teacher, torch.tensor([0]), temperature=1.0)
    value.backward()
    torch.testing.assert_close(value, torch.tensor(2e4 + 8 * 2e4))
    assert student.grad is not None and student.grad.isfinite().all()


def test_a_module_with_its_options():
    loss, batch = RLD(alpha=0.5, beta=2.0, temperature=3.0), random_batch()
    expected = rld(batch.student.logits, batch.teacher.logits, batch.target, None, 0.5, 2.0, 3.0)
    torch.testing.assert_close(loss(batch.student, batch.teacher, batch.target), expected)
    with pytest.raises(ValueError, match="rld: beta must be a finite number of at least 0"):
        RLD(beta=-1.0)
    with pytest.raises(ValueError, match="rld: temperature must be a finite number above 0"):
        RLD(temperature=0.0)


def test_parity_with_scipy():
    """The public code's arithmetic: sums of probabilities, and −1e9 at the classes left out."""
    target = np.array([0, 3, 1, 2])
    rows = np.arange(4)

    def theirs(student, teacher):
        z_s, z_t = student / 2, teacher / 2
        ours = scipy_softmax(z_s, axis=1)[rows, target]
        sure = scipy_softmax(z_t, axis=1).max(axis=1)
        first = sure * np.log(sure / ours) + (1 - sure) * np.log((1 - sure) / (1 - ours))
        out = teacher >= teacher[rows, target][:, None]
        p, q = (scipy_softmax(np.where(out, -1e9, z), axis=1) for z in (z_t, z_s))
        second = np.where(out, 0, p * np.log(np.where(out, 1, p) / np.where(out, 1, q)))
        return 4 * (first + 8 * second.sum(axis=1)).mean()

    agree_with_numpy(
        lambda s, t: rld(s, t, torch.from_numpy(target), temperature=2.0),
        theirs,
        2 * rows64(4, 4),
        2 * rows64(4, 4, seed=1),
    )
