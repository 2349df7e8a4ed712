from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax as scipy_softmax

from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.jsd import jsd


def twin(student, teacher, valid):
    values = []
    for z_s, z_t in zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True):
        for p, q in zip(softmax(z_s), softmax(z_t), strict=True):
            m = (p + q) / 2
            values.append(0.5 * p * math.log(p / m) + 0.5 * q * math.log(q / m))
    return mean(values) * student.shape[1]


def test_closed_form():
    teacher = torch.tensor([[math.log(3.0), 0.0]])  # 3/4, 1/4 against 1/2, 1/2; m = 5/8, 3/8
    exact = 0.5 * (
        0.75 * math.log(6 / 5)
        + 0.25 * math.log(2 / 3)
        + 0.5 * math.log(4 / 5)
        + 0.5 * math.log(4 / 3)
    )
    torch.testing.assert_close(jsd(torch.zeros(1, 2), teacher), torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    student, teacher = 2 * rows64(6, 4), 3 * rows64(6, 4, seed=1)
    close(jsd(student, teacher, optional(valid)), twin(student, teacher, valid))


def test_symmetric_and_bounded_by_log_2():
    student, teacher = 50 * rows64(6, 4), 50 * rows64(6, 4, seed=1)
    close(jsd(student, teacher), jsd(teacher, student).item())
    assert jsd(student, teacher) <= math.log(2)
    opposite = torch.tensor([[1e4, -1e4]])
    torch.testing.assert_close(jsd(opposite, -opposite), torch.tensor(math.log(2)))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: jsd(s, t, valid, 2.0), rows64(3, 4), rows64(3, 4, seed=1))


def test_parity_with_scipy():
    """`jensenshannon` is the square root."""

    def theirs(student, teacher):
        p, q = scipy_softmax(student, axis=1), scipy_softmax(teacher, axis=1)
        return float((jensenshannon(p, q, axis=1) ** 2).mean())

    agree_with_numpy(jsd, theirs, 2 * rows64(4, 5), 2 * rows64(4, 5, seed=1))
