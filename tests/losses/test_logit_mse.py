from __future__ import annotations

import pytest
import torch
from sklearn.metrics import mean_squared_error
from torch.nn import functional as F

from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.kd import kd
from xdistill.losses.logit_mse import LogitMSE, logit_mse


def twin(student, teacher, valid):
    rows = zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True)
    return mean([sum((s - t) ** 2 for s, t in zip(*row, strict=True)) for row in rows])


def test_closed_form():
    # Rows (1, 2) and (0, 0) against 0 and (0, 4): 5 and 16, mean 21/2.
    student = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    teacher = torch.tensor([[0.0, 0.0], [0.0, 4.0]])
    torch.testing.assert_close(logit_mse(student, teacher), torch.tensor(10.5))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    student, teacher = rows64(6, 4), rows64(6, 4, seed=1)
    close(logit_mse(student, teacher, optional(valid)), twin(student, teacher, valid))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: logit_mse(s, t, valid), rows64(3, 4), rows64(3, 4, seed=1))


def test_gradient_is_twice_the_gap_of_each_row():
    student, teacher = rows64(5, 4).requires_grad_(), rows64(5, 4, seed=1)
    (gradient,) = torch.autograd.grad(logit_mse(student, teacher), student)
    torch.testing.assert_close(gradient, 2 * (student.detach() - teacher) / 5)


def test_kd_at_high_temperature_is_half_a_kth_of_it_for_centred_logits():
    student, teacher = (rows64(5, 4, seed=seed) for seed in (0, 1))
    student, teacher = (z - z.mean(1, keepdim=True) for z in (student, teacher))
    limit = kd(student, teacher, temperature=1e4)
    torch.testing.assert_close(limit, logit_mse(student, teacher) / 8, rtol=1e-3, atol=0)


def test_torch_mse_loss_is_a_kth_of_it():
    student, teacher = rows64(5, 4), rows64(5, 4, seed=1)
    torch.testing.assert_close(F.mse_loss(student, teacher), logit_mse(student, teacher) / 4)


def test_a_constant_added_to_a_row_counts():
    close(logit_mse(torch.ones(1, 4, dtype=torch.float64), torch.zeros(1, 4).double()), 4.0)


def test_opposite_logits_of_10000_are_finite():
    logits = torch.full((2, 1000), 1e4)
    torch.testing.assert_close(logit_mse(logits, -logits), torch.tensor(4e8 * 1000))


def test_parity_with_scikit_learn():
    student, teacher = rows64(4, 3), rows64(4, 3, seed=1)
    # Its mean runs over rows and classes: times K.
    agree_with_numpy(logit_mse, lambda s, t: float(mean_squared_error(t, s)) * 3, student, teacher)


def test_needs_logits_alone():
    assert LogitMSE.needs == ("logits",)
