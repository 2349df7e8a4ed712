from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch

from tests.losses.loops import MASKS, close, optional, rows64
from xdistill.losses.parts.sinkhorn import sinkhorn_plan, transport_cost


def twin(cost, valid, regularisation, iterations):
    """Scaling of the rows, then of the columns, in place of logarithms."""
    rows = [i for i in range(len(cost)) if valid is None or valid[i]]
    kernel = {(i, j): math.exp(-cost[i][j] / regularisation) for i in rows for j in rows}
    v = dict.fromkeys(rows, 1.0)
    for _ in range(iterations):
        u = {i: 1 / len(rows) / sum(kernel[i, j] * v[j] for j in rows) for i in rows}
        v = {j: 1 / len(rows) / sum(kernel[i, j] * u[i] for i in rows) for j in rows}
    return [
        [u[i] * kernel[i, j] * v[j] if i in rows and j in rows else 0.0 for j in range(len(cost))]
        for i in range(len(cost))
    ]


def costs(rows=6):
    return rows64(rows, rows).abs()


def test_closed_form():
    # By symmetry the plan is ½ / (1 + x) on the diagonal and ½·x / (1 + x) beside it, x = e^(−1/ε).
    cost, x = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), math.exp(-1 / 0.5)
    plan = sinkhorn_plan(cost, regularisation=0.5)
    torch.testing.assert_close(plan, torch.tensor([[1.0, x], [x, 1.0]]) / (2 * (1 + x)))
    torch.testing.assert_close(transport_cost(cost, None, 0.5), torch.tensor(x / (1 + x)))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize(("regularisation", "iterations"), [(0.5, 1), (0.1, 7)])
def test_twin(valid, regularisation, iterations):
    cost = costs()
    plan = torch.tensor(twin(cost.tolist(), valid, regularisation, iterations)).double()
    ours = sinkhorn_plan(cost, optional(valid), regularisation, iterations)
    torch.testing.assert_close(ours, plan, rtol=1e-6, atol=1e-6)
    value = transport_cost(cost, optional(valid), regularisation, iterations)
    close(value, (ours * cost).sum().item())


@pytest.mark.parametrize("regularisation", [0.05, 1.0])
def test_parity_of_the_plan_with_pot(regularisation):
    cost, mass = costs(), np.full(6, 1 / 6)
    plan = ot.sinkhorn(mass, mass, cost.numpy(), regularisation, numItermax=5000, stopThr=1e-13)
    ours = sinkhorn_plan(cost, None, regularisation, iterations=2000)
    torch.testing.assert_close(ours, torch.tensor(plan), rtol=1e-6, atol=1e-9)


def test_parity_of_the_gradient_with_pot():
    """Finite differences of the regularised objective that POT has minimised."""
    cost, mass, step = costs(3), np.full(3, 1 / 3), 1e-5

    def objective(matrix):
        plan = ot.sinkhorn(mass, mass, matrix, 0.3, numItermax=5000, stopThr=1e-14)
        return (plan * matrix).sum() + 0.3 * (plan * np.log(plan)).sum()

    cost.requires_grad_()
    transport_cost(cost, None, 0.3, iterations=500).backward()
    for i, j in np.ndindex(3, 3):
        moved = [cost.detach().numpy().copy() for _ in range(2)]
        moved[0][i, j] += step
        moved[1][i, j] -= step
        slope = (objective(moved[0]) - objective(moved[1])) / (2 * step)
        assert slope == pytest.approx(cost.grad[i, j].item(), abs=1e-7)


def test_masses():
    valid = torch.tensor([True, False, True, True, True, False])
    plan = sinkhorn_plan(costs(), valid, 0.2, iterations=500)
    torch.testing.assert_close(plan.sum(0), valid / 4.0, check_dtype=False)
    torch.testing.assert_close(plan.sum(1), valid / 4.0, check_dtype=False)
    assert not sinkhorn_plan(costs(), torch.zeros(6, dtype=torch.bool)).any()


def test_a_small_regularisation_does_not_underflow():
    """It finds the cheapest matching, which a plain e^(−C/ε) rounds to 0 everywhere."""
    cost = 1 + torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    plan = sinkhorn_plan(cost, None, 1e-3, iterations=2000)
    exact = ot.emd(np.full(5, 0.2), np.full(5, 0.2), cost.double().numpy())
    torch.testing.assert_close(plan.double(), torch.tensor(exact), atol=1e-3, rtol=0)
