"""Tests of `infonce` alone: closed forms, its two directions, its bank on one side."""

from __future__ import annotations

import math

import pytest
import torch
from open_clip.loss import ClipLoss

from tests.kernels.problems import EXACT, IMPLS, make, run
from tests.losses.parity import agree
from xdistill.kernels import infonce

every_impl = pytest.mark.parametrize("impl", IMPLS)


@every_impl
def test_closed_form(impl):
    # The softmax of each row is over e^scale and two e^0.
    value = infonce(torch.eye(3), torch.eye(3), 2.0, impl=impl)
    torch.testing.assert_close(value, torch.tensor(math.log1p(2 * math.exp(-2.0))))


@every_impl
def test_rows_that_are_all_equal_are_told_apart_by_chance(impl):
    a = torch.tensor([[1.0, 0.0]]).expand(6, 2)
    torch.testing.assert_close(infonce(a, a, 50.0, impl=impl), torch.tensor(math.log(6)))


@every_impl
def test_one_pair_costs_nothing(impl):
    single = make("infonce", 1, 1, 4, extra=None, absent=0.0).to(torch.float32)
    for part in run(single.kernel(impl), single.inputs).all():
        torch.testing.assert_close(part, torch.zeros_like(part))


@every_impl
def test_symmetric_without_a_bank(impl):
    problem = make("infonce", 9, 9, 4, extra=None).to(torch.float32)
    a, b, scale = problem.inputs
    one, other = run(problem.kernel(impl), (a, b, scale)), run(problem.kernel(impl), (b, a, scale))
    value, da, db, dscale = other.all()
    torch.testing.assert_close(one.all(), (value, db, da, dscale))


@every_impl
def test_a_bank_makes_the_rows_alone_harder(impl):
    # Orthogonal pairs, three keys of score 0: log(e^2 + 4) over keys, log(e^2 + 1) over rows.
    eye = torch.eye(2)
    value = infonce(eye, eye, 2.0, extra=torch.zeros(3, 2), impl=impl)
    e2 = math.exp(2.0)
    exact = 0.5 * (math.log(e2 + 4) + math.log(e2 + 1)) - 2
    torch.testing.assert_close(value, torch.tensor(exact))


@every_impl
def test_rows_without_a_partner_are_candidates_of_the_other_side(impl):
    # One pair of score 1, and a second key of score 1 for its row alone.
    a, b = torch.ones(1, 1), torch.ones(2, 1)
    for rows, keys in [(a, b), (b, a)]:
        value = infonce(rows, keys, 1.0, impl=impl)
        torch.testing.assert_close(value, torch.tensor(0.5 * math.log(2)))


@pytest.mark.parametrize("impl", EXACT)
def test_parity_with_open_clip(impl):
    theirs = ClipLoss(rank=0, world_size=1)
    problem = make("infonce", 7, 7, 5, absent=0.0, extra=None)
    agree(problem.kernel(impl), theirs, *problem.inputs)


@every_impl
def test_a_mask_of_pairs_needs_pairs(impl):
    with pytest.raises(ValueError, match="got 5 rows and 4 keys; drop the rows"):
        infonce(torch.ones(5, 2), torch.ones(4, 2), 1.0, valid=torch.ones(5).bool(), impl=impl)
