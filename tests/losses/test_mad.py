from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax as scipy_softmax
from scipy.stats import entropy as scipy_entropy

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, dot, gradcheck, kept, norm, optional, rows64, softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.mad import MAD, mad
from xdistill.losses.sp import sp


def twin(student, teacher, logits, valid, official):
    student, teacher, logits = kept(valid, student.tolist(), teacher.tolist(), logits.tolist())
    doubt = [-sum(p * math.log(p) for p in softmax(row)) for row in logits]
    total = 0.0
    for i in range(len(student)):
        ours = [dot(student[i], other) for other in student]
        theirs = [dot(teacher[i], other) for other in teacher]
        for j in range(len(student)):
            gap = ours[j] / norm(ours) - theirs[j] / norm(theirs)
            total += gap**2 * doubt[j if official else i] / sum(doubt)
    return total


def test_closed_form():
    # As in the test of sp, where each row's gap is (1 − √½)² + ½; only the first row has doubt.
    logits = torch.tensor([[0.0, 0.0], [1e4, 0.0]])
    exact = (1 - math.sqrt(0.5)) ** 2 + 0.5
    value = mad(torch.ones(2, 3), torch.eye(2), logits)
    torch.testing.assert_close(value, torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("official", [False, True])
def test_twin(valid, official):
    student, teacher, logits = rows64(6, 5), rows64(6, 3, seed=1), rows64(6, 4, seed=2)
    close(
        mad(student, teacher, logits, optional(valid), official),
        twin(student, teacher, logits, valid, official),
    )


def test_gradcheck():
    valid, logits = torch.tensor([True, False, True, True]), rows64(4, 3, seed=2)
    gradcheck(lambda s, t: mad(s, t, logits, valid), rows64(4, 3), rows64(4, 2, seed=1))


def test_with_equal_doubt_it_is_sp_times_the_rows():
    student, teacher = rows64(6, 5), rows64(6, 4, seed=1)
    expected = 6 * sp(student, teacher)
    for official in (False, True):
        value = mad(student, teacher, torch.zeros(6, 3).double(), official=official)
        torch.testing.assert_close(value, expected)


def test_a_teacher_without_doubt_teaches_no_margin():
    student, logits = rows64(4, 3).requires_grad_(), 1e6 * torch.eye(4, dtype=torch.float64)
    value = mad(student, rows64(4, 3, seed=1), logits)
    value.backward()
    assert value == 0 and student.grad is not None and not student.grad.any()


def test_a_module_reads_the_teachers_logits_alone():
    batch = random_batch()
    values = [MAD(official)(batch.student, batch.teacher) for official in (False, True)]
    raw = (batch.student.embedding, batch.teacher.embedding, batch.teacher.logits)
    for value, official in zip(values, (False, True), strict=True):
        torch.testing.assert_close(value, mad(*raw, official=official))


def test_parity_with_scipy():
    """The public code's arithmetic, weights along columns."""
    logits = rows64(5, 3, seed=2)
    doubt = scipy_entropy(scipy_softmax(logits.numpy(), axis=1), axis=1)

    def theirs(student, teacher):
        ours, others = (
            gram / np.linalg.norm(gram, axis=1, keepdims=True)
            for gram in (student @ student.T, teacher @ teacher.T)
        )
        return ((ours - others) ** 2 * (doubt / doubt.sum())).sum()

    agree_with_numpy(
        lambda s, t: mad(s, t, logits, official=True), theirs, rows64(5, 4), rows64(5, 3, seed=1)
    )
