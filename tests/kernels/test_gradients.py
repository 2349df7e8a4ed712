"""Gradients by finite differences, and gradients of gradients."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.problems import EXACT, IMPLS, LABELLED, OPS, Problem, make

every_op = pytest.mark.parametrize("op", OPS)

# The middle one has scores small enough for the sums without a running maximum.
KINDS = {
    "labels and masks": {"scale": 40.0},
    "small scores": {"scale": 2.0, "absent": 0.0},
    "no labels": {"labels": False, "scale": 40.0},
    "no pairs": {"paired": False, "classes": 2, "unknown": 0.0},
}


def leaves_of(problem: Problem) -> list[torch.Tensor]:
    return [x.clone().requires_grad_() for x in problem.inputs]


@pytest.mark.parametrize("impl", EXACT)
@pytest.mark.parametrize("kind", KINDS)
@every_op
def test_gradcheck(op, kind, impl):
    problem = make(op, 5, 5, 3, extra=3, seed=2, **KINDS[kind])
    assert torch.autograd.gradcheck(problem.kernel(impl), leaves_of(problem))


@pytest.mark.parametrize("impl", EXACT)
@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
@every_op
def test_gradcheck_of_unequal_numbers(op, shape, impl):
    problem = make(op, *shape, 3, seed=1)
    assert torch.autograd.gradcheck(problem.kernel(impl), leaves_of(problem))


@pytest.mark.parametrize("kind", KINDS)
@every_op
def test_gradgradcheck_of_the_reference(op, kind):
    problem = make(op, 4, 4, 2, extra=2, seed=2, **KINDS[kind])
    assert torch.autograd.gradgradcheck(problem.kernel("reference"), leaves_of(problem))


@pytest.mark.parametrize("impl", [impl for impl in IMPLS if impl != "reference"])
@every_op
def test_a_second_derivative_is_refused(op, impl):
    problem = make(op, 5, 5, 3).to(torch.float32)
    leaves = leaves_of(problem)
    first = torch.autograd.grad(problem.kernel(impl)(*leaves), leaves, create_graph=True)
    for gradient in first[:2]:
        with pytest.raises(RuntimeError, match='no second derivative.*impl="reference"'):
            torch.autograd.grad(gradient.sum(), leaves, retain_graph=True)


@pytest.mark.parametrize("impl", IMPLS)
@every_op
def test_the_scale_may_be_a_number(op, impl):
    problem = make(op, 6, 6, 3).to(torch.float32)
    numbers = [x.item() for x in problem.inputs[2:]]
    value = problem.kernel(impl)(*problem.inputs[:2], *numbers)
    torch.testing.assert_close(value, problem.kernel(impl)(*problem.inputs))


@pytest.mark.parametrize("impl", IMPLS)
@every_op
def test_gradients_scale_with_the_upstream_gradient(op, impl):
    problem = make(op, 6, 6, 3).to(torch.float32)
    leaves = leaves_of(problem)
    value = problem.kernel(impl)(*leaves)
    once = torch.autograd.grad(value, leaves, retain_graph=True)
    thrice = torch.autograd.grad(-3 * value, leaves)
    torch.testing.assert_close(thrice, tuple(-3 * x for x in once))


@pytest.mark.parametrize("impl", IMPLS)
@every_op
def test_the_inputs_stay_as_they_are(op, impl):
    problem = make(op, 6, 6, 3).to(torch.float32)
    given = [*problem.inputs, *(x for x in problem.rest.values() if isinstance(x, torch.Tensor))]
    before = [x.clone() for x in given]
    problem.kernel(impl)(*leaves_of(problem)).backward()
    torch.testing.assert_close(given, before, rtol=0, atol=0)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("op", LABELLED)
def test_strided_rows_and_keys(op, impl):
    problem = make(op, 6, 6, 4).to(torch.float32)
    a, k, scale = problem.inputs
    wide = torch.stack([a, torch.full_like(a, torch.nan)], dim=2).flatten(1)[:, ::2]
    turned = k.T.contiguous().T
    strided = (wide.detach(), turned.detach())
    assert not any(x.is_contiguous() for x in strided)
    leaves = [x.requires_grad_() for x in strided]
    torch.autograd.backward(problem.kernel(impl)(*leaves, scale))
    plain = leaves_of(problem)
    torch.autograd.backward(problem.kernel(impl)(*plain))
    for one, other in zip(leaves, plain, strict=False):
        torch.testing.assert_close(one.grad, other.grad)
