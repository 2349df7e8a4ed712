from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax

from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.kd import kd
from xdistill.losses.ttm import TTM, ttm


def twin(student, teacher, valid, gamma):
    values = []
    for z_s, z_t in zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True):
        powers = [p**gamma for p in softmax(z_t)]
        of_teacher = [power / sum(powers) for power in powers]
        terms = zip(of_teacher, softmax(z_s), strict=True)
        values.append(sum(t * math.log(t / s) for t, s in terms))
    return mean(values)


def test_closed_form():
    # p_t = (9/10, 1/10), γ = 1/2: the powers are as 3 to 1. The student says (1/2, 1/2).
    teacher = torch.tensor([[math.log(9.0), 0.0]])
    exact = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    torch.testing.assert_close(ttm(torch.zeros(1, 2), teacher, gamma=0.5), torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("gamma", [0.1, 1.0, 2.0])
def test_twin(valid, gamma):
    student, teacher = rows64(6, 4), 3 * rows64(6, 4, seed=1)
    close(ttm(student, teacher, optional(valid), gamma), twin(student, teacher, valid, gamma))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: ttm(s, t, valid), rows64(3, 4), rows64(3, 4, seed=1))


def test_with_a_power_of_one_it_is_kd_without_temperature():
    student, teacher = rows64(5, 3), rows64(5, 3, seed=1)
    torch.testing.assert_close(ttm(student, teacher, gamma=1.0), kd(student, teacher, None, 1.0))


def test_a_student_is_pulled_to_the_softened_teacher_itself():
    """Unlike KD, whose student agrees when its own softened output does."""
    teacher = rows64(4, 3)
    close(ttm(0.1 * teacher, teacher, gamma=0.1), 0.0)
    assert ttm(teacher, teacher, gamma=0.1) > 0.01


def test_parity_with_scipy():
    """The public code's arithmetic: powers of probabilities, normalised."""

    def theirs(student, teacher):
        powers = scipy_softmax(teacher, axis=1) ** 0.1
        share = powers / powers.sum(axis=1, keepdims=True)
        return (share * (np.log(share) - log_softmax(student, axis=1))).sum(axis=1).mean()

    agree_with_numpy(ttm, theirs, 2 * rows64(4, 4), 2 * rows64(4, 4, seed=1))


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.nan])
def test_a_power_is_a_finite_number_above_zero(gamma):
    with pytest.raises(ValueError, match="ttm: gamma must be a finite number above 0"):
        TTM(gamma=gamma)
