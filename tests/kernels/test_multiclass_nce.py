"""Tests of `multiclass_nce` alone: the complement of a probability near one."""

from __future__ import annotations

import math

import pytest
import torch

from tests.kernels.problems import EXACT, IMPLS, Problem, make, run
from xdistill.kernels import multiclass_nce, supcon

every_impl = pytest.mark.parametrize("impl", IMPLS)
here, elsewhere = torch.tensor([1]), 2


@every_impl
def test_closed_form(impl):
    # One positive of score 2, two negatives of score 0.
    a, k = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    value = multiclass_nce(a, k, 2.0, here, torch.tensor([1, elsewhere, elsewhere]), impl=impl)
    total = math.exp(2) + 2
    torch.testing.assert_close(value, torch.tensor(math.log(total) - 2 - math.log1p(-1 / total)))


@every_impl
def test_without_negatives_it_is_supcon(impl):
    problem = make("multiclass_nce", 7, 7, 4, classes=1, unknown=0.0).to(torch.float32)
    same = Problem("supcon", problem.inputs, problem.rest)
    found, expected = (run(p.kernel(impl), p.inputs) for p in (problem, same))
    torch.testing.assert_close(found.all(), expected.all())


@every_impl
@pytest.mark.parametrize("gap", [20.0, 60.0, 1000.0])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_negative_whose_probability_rounds_to_one(gap, place, impl):
    """−log p of the positive is the gap, and so is −log(1 − p) of that negative."""
    k = torch.zeros(3, 1)
    k[place] = 1.0
    classes = torch.full((3,), elsewhere)
    classes[(place + 1) % 3] = 1
    inputs = (torch.ones(1, 1), k, torch.tensor(gap))
    found = run(lambda *inputs: multiclass_nce(*inputs, here, classes, impl=impl), inputs)
    # The large one leaves two scores of 0; the other negative costs nothing.
    expected = gap + (gap - math.log(2)) / 2
    torch.testing.assert_close(found.value, torch.tensor(expected))
    torch.testing.assert_close(found.gradients[2], torch.tensor(1.5))


@every_impl
def test_a_negative_in_the_bank_whose_probability_rounds_to_one(impl):
    keys, bank = torch.zeros(2, 1), torch.ones(1, 1)
    inputs = (torch.ones(1, 1), keys, torch.tensor(60.0))
    found = run(
        lambda *inputs: multiclass_nce(
            *inputs, here, torch.tensor([1, elsewhere]),
            extra=bank, extra_labels=torch.tensor([elsewhere]), impl=impl,
        ),
        inputs,
    )  # fmt: skip
    torch.testing.assert_close(found.value, torch.tensor(60.0 + (60.0 - math.log(2)) / 2))
    torch.testing.assert_close(found.gradients[2], torch.tensor(1.5))


@every_impl
def test_largest_scores_that_tie(impl):
    """Two negatives of probability one half, in one set of keys and in two."""
    a, scale = torch.ones(1, 1), torch.tensor(50.0)
    k, classes = torch.tensor([[0.0], [1.0], [1.0]]), torch.tensor([1, elsewhere, elsewhere])
    expected = torch.tensor(50.0 + math.log(2) + math.log(2))
    value = multiclass_nce(a, k, scale, here, classes, impl=impl)
    torch.testing.assert_close(value, expected)
    bank = {"extra": k[2:], "extra_labels": classes[2:]}
    value = multiclass_nce(a, k[:2], scale, here, classes[:2], **bank, impl=impl)
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("impl", EXACT)
def test_the_attracting_part_is_supcon(impl):
    """Where the negatives have a probability of zero."""
    a, k = torch.ones(1, 1).double(), torch.tensor([[1.0], [0.9], [-1.0]]).double()
    classes = torch.tensor([1, 1, elsewhere])
    whole = multiclass_nce(a, k, 50.0, here, classes, impl=impl)
    torch.testing.assert_close(whole, supcon(a, k, 50.0, here, classes, impl=impl))


@every_impl
def test_each_row_repels_the_mean_of_its_negatives(impl):
    a = torch.ones(1, 1)
    for count in (1, 2, 50):
        k = torch.cat([torch.ones(1, 1), torch.zeros(count, 1)])
        classes = torch.tensor([1] + [elsewhere] * count)
        value = multiclass_nce(a, k, 1.0, here, classes, impl=impl)
        total = math.e + count
        expected = math.log(total) - 1 - math.log1p(-1 / total)
        torch.testing.assert_close(value, torch.tensor(expected))
