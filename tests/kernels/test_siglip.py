"""Tests of `siglip` alone: closed forms, its bias, and how it counts pairs."""

from __future__ import annotations

import math

import pytest
import torch
from open_clip.loss import SigLipLoss

from tests.kernels.problems import EXACT, IMPLS, make, run
from tests.losses.parity import agree
from xdistill.kernels import siglip

every_impl = pytest.mark.parametrize("impl", IMPLS)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@every_impl
def test_closed_form(impl):
    # Three pairs of score 2 and six of score 0, shifted by the bias, over three pairs.
    value = siglip(torch.eye(3), torch.eye(3), 2.0, -0.5, impl=impl)
    exact = softplus(-1.5) + 2 * softplus(-0.5)
    torch.testing.assert_close(value, torch.tensor(exact))


@every_impl
def test_extra_keys_are_negatives_of_every_row(impl):
    eye = torch.eye(2)
    without = siglip(eye, eye, 2.0, -0.5, impl=impl)
    value = siglip(eye, eye, 2.0, -0.5, extra=torch.zeros(3, 2), impl=impl)
    torch.testing.assert_close(value, without + 3 * softplus(-0.5))


@every_impl
@pytest.mark.parametrize(("n", "m"), [(2, 5), (5, 2)])
def test_counts_pairs_and_sums_over_all(n, m, impl):
    a, b = torch.zeros(n, 3), torch.zeros(m, 3)
    value = siglip(a, b, 1.0, 1.0, impl=impl)
    torch.testing.assert_close(
        value, torch.tensor((2 * softplus(-1.0) + (n * m - 2) * softplus(1.0)) / 2)
    )


@every_impl
@pytest.mark.parametrize("bias", [-200.0, -40.0, 0.0, 40.0, 200.0])
def test_any_bias(bias, impl):
    problem = make("siglip", 9, 9, 4).to(torch.float32)
    a, b, scale, _ = problem.inputs
    inputs = (a, b, scale, torch.tensor(bias))
    found, right = run(problem.kernel(impl), inputs), run(problem.twin(), inputs)
    torch.testing.assert_close(found.all(), right.all(), rtol=1e-4, atol=1e-5)


@every_impl
def test_symmetric_without_a_bank(impl):
    problem = make("siglip", 9, 9, 4, extra=None).to(torch.float32)
    a, b, *numbers = problem.inputs
    one, other = (
        run(problem.kernel(impl), (a, b, *numbers)),
        run(problem.kernel(impl), (b, a, *numbers)),
    )
    value, da, db, *dnumbers = other.all()
    torch.testing.assert_close(one.all(), (value, db, da, *dnumbers))


@pytest.mark.parametrize("impl", EXACT)
def test_parity_with_open_clip(impl):
    theirs = SigLipLoss(rank=0, world_size=1)
    problem = make("siglip", 7, 7, 5, absent=0.0, extra=None)
    agree(problem.kernel(impl), theirs, *problem.inputs)


@every_impl
def test_a_mask_of_pairs_needs_pairs(impl):
    mask = torch.ones(5, dtype=torch.bool)
    with pytest.raises(ValueError, match="got 5 rows and 4 keys; drop the rows"):
        siglip(torch.ones(5, 2), torch.ones(4, 2), 1.0, 0.0, valid=mask, impl=impl)
