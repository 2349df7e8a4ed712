from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn import functional as F

from xdistill.diagnosis.information import gaussian_information, label_information
from xdistill.diagnosis.probe import fit_probe


def data(rows: int = 60, width: int = 4, classes: int = 3):
    generator = torch.Generator().manual_seed(0)
    x = 5 + 3 * torch.randn(rows, width, generator=generator)
    targets = torch.randn(rows, classes, generator=generator).softmax(dim=1)
    return x, targets


@pytest.mark.parametrize("penalty", [1e-2, 1.0])
def test_it_is_the_minimum_that_scipy_finds(penalty):
    x, targets = data()
    z = ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy()
    q = targets.double().numpy()

    def loss(flat: np.ndarray) -> float:
        weight, bias = flat[:12].reshape(4, 3), flat[12:]
        logits = z @ weight + bias
        log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-(q * log).sum(axis=1).mean() + penalty * (weight**2).sum() / 2)

    right = minimize(loss, np.zeros(15), method="BFGS", options={"gtol": 1e-8}).x[:12]
    found = fit_probe(x, targets, penalty).weight.numpy().ravel()
    assert np.abs(found - right).max() < 1e-4


def test_a_separable_set_is_separated_whatever_its_scale():
    x = torch.cat([torch.randn(20, 2) * 0.1, torch.randn(20, 2) * 0.1 + 1]) * 1e-3 + 7
    labels = torch.arange(40) // 20
    probe = fit_probe(x, F.one_hot(labels, 2).double(), 1e-3)
    assert torch.equal(probe.logits(x).argmax(dim=1), labels)


def test_it_trains_inside_no_grad():
    x, targets = data()
    with torch.no_grad():
        inside = fit_probe(x, targets, 0.1).weight
    assert torch.equal(inside, fit_probe(x, targets, 0.1).weight)
    assert float(inside.abs().max()) > 0


def test_a_constant_column_changes_nothing():
    x, targets = data()
    wider = torch.cat([x, torch.full((len(x), 1), 3.0)], dim=1)
    found = fit_probe(wider, targets, 0.1)
    assert found.weight[-1].abs().max() == 0
    assert torch.allclose(found.weight[:-1], fit_probe(x, targets, 0.1).weight, atol=1e-5)


def test_information_of_one_gaussian_pair_is_that_of_its_correlation():
    generator = torch.Generator().manual_seed(1)
    one = torch.randn(20_000, 1, generator=generator)
    other = 0.8 * one + 0.6 * torch.randn(20_000, 1, generator=generator)
    ridged = 0.8 / 1.1  # both variances are 1.1 with the ridge
    assert gaussian_information(one, other) == pytest.approx(-0.5 * np.log(1 - ridged**2), abs=0.02)
    assert gaussian_information(one, torch.randn(20_000, 1, generator=generator)) < 1e-3


def test_information_does_not_change_with_scale_or_shift():
    x, y = torch.randn(200, 3), torch.randn(200, 5)
    assert gaussian_information(x, y) == pytest.approx(gaussian_information(9 + 4 * x, y - 2))


def test_information_about_the_label():
    target = torch.tensor([0, 1] * 10)
    sure = 50 * F.one_hot(target, 2).double()
    assert label_information(sure, target) == pytest.approx(np.log(2))
    assert label_information(torch.zeros(20, 2), target) == pytest.approx(0, abs=1e-12)
    assert label_information(-sure, target) < 0
