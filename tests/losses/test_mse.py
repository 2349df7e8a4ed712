from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import mean_squared_error
from torch.nn import functional as F

import xdistill as xd
from tests.losses.loops import close, gradcheck, mean, rows64
from xdistill.losses.mse import mse

NAN = math.nan


def test_closed_form():
    # Gaps 1 and 3, the third entry is unknown: (1 + 9)/2.
    values, target = torch.tensor([[1.0, 2.0], [0.0, 5.0]]), torch.tensor([[0.0, NAN], [3.0, NAN]])
    torch.testing.assert_close(mse(values, target), torch.tensor(5.0))


def test_twin():
    values, target = rows64(6, 4), rows64(6, 4, seed=1)
    target[2, 1] = target[4] = NAN
    pairs = zip(values.flatten().tolist(), target.flatten().tolist(), strict=True)
    close(mse(values, target), mean([(v - t) ** 2 for v, t in pairs if not math.isnan(t)]))


def test_one_value_a_row_is_a_column():
    values, target = rows64(5, 1), rows64(5, 1, seed=1)
    assert torch.equal(mse(values, target[:, 0]), mse(values, target))
    torch.testing.assert_close(mse(values, target), F.mse_loss(values, target))


def test_gradcheck():
    target = rows64(3, 4, seed=1)
    target[1, 2] = NAN
    gradcheck(lambda z: mse(z, target), rows64(3, 4))


def test_parity_with_scikit_learn():
    values, target = rows64(4, 3), rows64(4, 3, seed=1)
    close(mse(values, target), mean_squared_error(target.numpy(), values.numpy()))


def test_no_target_is_zero_with_a_gradient_of_zero():
    values = rows64(3, 2).requires_grad_()
    value = mse(values, torch.full((3, 2), NAN, dtype=torch.float64))
    value.backward()
    assert value == 0 and not values.grad.any()


@pytest.mark.parametrize("loss", [xd.MSE(), xd.SmoothL1()])
def test_another_number_of_values_says_how_to_make_the_student(loss):
    outputs = xd.Outputs(torch.zeros(4, 8), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"\[4, 3\].*\[4\].*num_classes=1"):
        loss(outputs, outputs, torch.zeros(4))
    with pytest.raises(ValueError, match="infinite value"):
        loss(outputs, outputs, torch.full((4, 3), math.inf))
