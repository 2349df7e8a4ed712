from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from tests.losses.loops import rows64
from xdistill.losses.parts import kendall
from xdistill.losses.parts.kendall import kendall_tau_b


def scipy_tau(a, b):
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = float(kendalltau(a, b, variant="b").statistic)
    return 0.0 if math.isnan(tau) else tau


def test_closed_form():
    # Pairs of a: (1,2) tied, (1,3) and (2,3) rise. In b they fall, rise, rise: (1,2) is no pair of
    # a, so 2 agree, with 2 untied in a and 3 in b: 2 / sqrt(6).
    tau = kendall_tau_b(torch.tensor([[1.0, 1.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0]]))
    torch.testing.assert_close(tau, torch.tensor([2 / math.sqrt(6)]))


@given(
    st.integers(2, 9).flatmap(
        lambda k: st.lists(
            st.tuples(*[st.lists(st.integers(-2, 2), min_size=k, max_size=k)] * 2),
            min_size=1,
            max_size=4,
        )
    )
)
@settings(deadline=None, max_examples=60)
def test_parity_with_scipy_with_ties(pairs):
    a, b = (torch.tensor(side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    expected = [scipy_tau(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    result = kendall_tau_b(a, b)
    torch.testing.assert_close(
        result, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("numbers", [1, 40, 2**24])
def test_parity_with_scipy_whatever_the_size_of_the_parts(monkeypatch, numbers):
    monkeypatch.setattr(kendall, "NUMBERS_AT_ONCE", numbers)
    a, b = rows64(3, 11), rows64(3, 11, seed=1)
    expected = [scipy_tau(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    torch.testing.assert_close(kendall_tau_b(a, b), torch.tensor(expected, dtype=torch.float64))


def test_parity_with_scipy_for_many_classes():
    """The pairs of 20 rows of 1000 classes are 20 million numbers, which come in two parts."""
    a, b = rows64(20, 1000), rows64(20, 1000, seed=1)
    tau = kendall_tau_b(a.float(), b.float())
    torch.testing.assert_close(tau[7].double().item(), scipy_tau(a[7].numpy(), b[7].numpy()))


def test_limits():
    rows = rows64(4, 6)
    torch.testing.assert_close(kendall_tau_b(rows, rows.exp()), torch.ones(4).double())
    torch.testing.assert_close(kendall_tau_b(rows, -rows), -torch.ones(4).double())
    assert not kendall_tau_b(rows, torch.ones(4, 6).double()).any()
    assert not kendall_tau_b(rows[:, :1], rows[:, :1]).any()
    saturated = torch.tensor([[1e38, -1e38, 1e-45]])
    torch.testing.assert_close(kendall_tau_b(saturated, saturated), torch.ones(1))
    assert not kendall_tau_b(rows.requires_grad_(), rows).requires_grad
