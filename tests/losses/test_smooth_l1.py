from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

import xdistill as xd
from tests.losses.loops import close, gradcheck, mean, rows64
from xdistill.losses.mse import mse
from xdistill.losses.smooth_l1 import smooth_l1


def test_closed_form():
    # d = 1 < 2: 1/4; d = 6: 6 − 1; the third is unknown.
    values, target = torch.tensor([[1.0], [6.0], [9.0]]), torch.tensor([0.0, 0.0, math.nan])
    torch.testing.assert_close(smooth_l1(values, target, beta=2.0), torch.tensor(2.625))


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_twin(beta):
    values, target = rows64(6, 4), rows64(6, 4, seed=1)
    target[2, 1] = target[4] = math.nan

    def one(d: float) -> float:
        return d**2 / (2 * beta) if d < beta else d - beta / 2

    pairs = zip(values.flatten().tolist(), target.flatten().tolist(), strict=True)
    close(smooth_l1(values, target, beta), mean([one(abs(v - t)) for v, t in pairs if t == t]))


def test_gradcheck():
    target = rows64(3, 4, seed=1)
    target[1, 2] = math.nan
    gradcheck(lambda z: smooth_l1(z, target), rows64(3, 4))


def test_limits():
    values, target = rows64(5, 2), rows64(5, 2, seed=1)
    wide = smooth_l1(values, target, beta=100.0)
    torch.testing.assert_close(wide * 200, mse(values, target))
    narrow = smooth_l1(values, target, beta=1e-9)
    torch.testing.assert_close(narrow, F.l1_loss(values, target))


def test_beta_is_above_zero():
    with pytest.raises(ValueError, match="smooth_l1: beta must be a finite number above 0"):
        xd.SmoothL1(beta=0.0)
