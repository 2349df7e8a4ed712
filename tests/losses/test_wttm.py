from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax

from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.ttm import ttm
from xdistill.losses.wttm import WTTM, wttm


def twin(student, teacher, valid, gamma):
    values = []
    for z_s, z_t in zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True):
        powers = [p**gamma for p in softmax(z_t)]
        total = sum(powers)
        terms = zip((power / total for power in powers), softmax(z_s), strict=True)
        values.append(total * sum(t * math.log(t / s) for t, s in terms))
    return mean(values)


def test_closed_form():
    # p_t = (9/10, 1/10), γ = 1/2: the powers are (3, 1)/√10 and U = 4/√10.
    teacher = torch.tensor([[math.log(9.0), 0.0]])
    exact = 4 / math.sqrt(10) * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    torch.testing.assert_close(wttm(torch.zeros(1, 2), teacher, gamma=0.5), torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("gamma", [0.1, 1.0, 2.0])
def test_twin(valid, gamma):
    student, teacher = rows64(6, 4), 3 * rows64(6, 4, seed=1)
    close(wttm(student, teacher, optional(valid), gamma), twin(student, teacher, valid, gamma))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: wttm(s, t, valid), rows64(3, 4), rows64(3, 4, seed=1))


def test_the_weight_grows_from_one_to_a_power_of_the_classes_with_the_teachers_doubt():
    student = rows64(1, 4)
    sure, undecided = 1e4 * torch.eye(4, dtype=torch.float64)[:1], torch.zeros(1, 4).double()
    for gamma in (0.1, 0.5):
        for teacher, weight in ((sure, 1.0), (undecided, 4 ** (1 - gamma))):
            weighted, plain = (
                wttm(student, teacher, gamma=gamma),
                ttm(student, teacher, gamma=gamma),
            )
            torch.testing.assert_close(weighted, weight * plain)


def test_parity_with_scipy():
    """The public code's arithmetic: powers of probabilities, their sum as the weight of a row."""

    def theirs(student, teacher):
        powers = scipy_softmax(teacher, axis=1) ** 0.2
        total = powers.sum(axis=1, keepdims=True)
        share = powers / total
        gap = np.log(share) - log_softmax(student, axis=1)
        return (total * share * gap).sum(axis=1).mean()

    agree_with_numpy(wttm, theirs, 2 * rows64(4, 4), 2 * rows64(4, 4, seed=1))


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.inf])
def test_a_power_is_a_finite_number_above_zero(gamma):
    with pytest.raises(ValueError, match="wttm: gamma must be a finite number above 0"):
        WTTM(gamma=gamma)
