"""The operators: statistics from their definitions, and the checks of PyTorch for operators."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from tests.kernels import pass_arguments as passes
from tests.kernels.pass_arguments import PASSES, arguments, operator, operator_backward
from tests.kernels.problems import IMPLS
from xdistill.kernels.passes import row_column_lse, row_lse, softplus_sum, top_lse
from xdistill.numerics import EXCLUDED

FUSED = [impl for impl in IMPLS if impl != "reference"]

OFFSETS = (None, -7, -3, -1, 0, 2, 6, 9)

every_pass = pytest.mark.parametrize("name", PASSES)
fused = pytest.mark.parametrize("impl", FUSED)


def widened(inputs: tuple) -> list:
    """In float64."""
    return [x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs]


def leaves_in(inputs: tuple) -> tuple:
    """With a gradient for every tensor of numbers."""
    return tuple(
        x.clone().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x
        for x in inputs
    )


# opcheck itself reads the gradient of a copy that it made of a leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@fused
@every_pass
def test_opcheck_forward(name, impl):
    for inputs, _ in arguments(name, 6, 5, 3):
        torch.library.opcheck(operator(name), (*inputs, impl))
        torch.library.opcheck(operator(name), (*leaves_in(inputs), impl))


@fused
@every_pass
@pytest.mark.parametrize("need", [(True, True), (True, False), (False, True)], ids=str)
def test_opcheck_backward(name, impl, need):
    for _, inputs in arguments(name, 6, 5, 3, need=need):
        torch.library.opcheck(operator_backward(name), (*inputs, impl))


@fused
@every_pass
def test_a_gradient_that_is_not_needed_is_empty(name, impl):
    for need in itertools.product([True, False], repeat=2):
        for _, inputs in arguments(name, 6, 5, 3, need=need):
            dx, dk, *_ = operator_backward(name)(*inputs, impl)
            assert dx.shape == (6 if need[0] else 0, 3)
            assert dk.shape == (5 if need[1] else 0, 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@every_pass
def test_statistics_have_the_type_of_the_rows(name, dtype):
    for inputs, _ in arguments(name, 6, 5, 3):
        typed = [x.to(dtype) if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs]
        found = operator(name)(*typed, "tiled")
        found = found if isinstance(found, tuple) else (found,)
        assert {x.dtype for x in found} <= {dtype, torch.int64}


@every_pass
def test_a_second_derivative_is_refused(name):
    _, inputs = next(iter(arguments(name, 6, 5, 3)))
    gradients = operator_backward(name)(*leaves_in(inputs), "tiled")
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradients[0].sum().backward()


@fused
@every_pass
def test_statistics_from_their_definition(name, impl):
    """Own keys may lie at any offset, since the rows of one process are a part of a batch."""
    definition = getattr(passes, f"slow_{name}")
    for inputs, _ in arguments(name, 6, 7, 3, owns=OFFSETS):
        found = operator(name)(*inputs, impl)
        expected = definition(*inputs)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@fused
def test_a_row_without_candidates(impl):
    x, k, none = torch.ones(3, 2), torch.zeros(4, 2), torch.zeros(4, dtype=torch.bool)
    excluded, zero = torch.full((3,), EXCLUDED), torch.zeros(3)
    for keys, valid in [(k, none), (k[:0], None), (k[:0], none[:0])]:
        row, column = row_column_lse.operator(x, keys, None, valid, impl)
        assert torch.equal(row, excluded)
        assert column.shape == (len(keys),)
        found = row_lse.operator(x, keys, None, None, valid, None, impl)
        assert torch.equal(found[0], excluded) and torch.equal(found[1], zero)
        lse, others, positive, _, top = top_lse.operator(x, keys, None, None, valid, 0, impl)
        assert torch.equal(lse, excluded) and torch.equal(others, excluded)
        assert torch.equal(positive, zero) and torch.equal(top, zero.long())
        total = softplus_sum.operator(x, keys, torch.tensor(1.0), valid, None, impl)
        assert torch.equal(total, zero)


@fused
def test_of_equal_scores_the_first_is_apart(impl):
    x, k = torch.ones(2, 1), torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    lse, others, _, highest, top = top_lse.operator(x, k, None, None, None, None, impl)
    assert top.tolist() == [1, 1] and highest.tolist() == [1.0, 1.0]
    torch.testing.assert_close(lse, torch.full((2,), math.log(1 + 3 * math.e)))
    torch.testing.assert_close(others, torch.full((2,), math.log(1 + 2 * math.e)))


@pytest.mark.parametrize("scale", [3.0, 40.0])
@every_pass
def test_gradcheck(name, scale):
    """Of everything differentiable, with masked keys too."""
    for inputs, _ in arguments(name, 6, 7, 3, scale=scale, owns=(None, -3, 2)):
        x, k, *rest = widened(inputs)

        def differentiable(x, k, rest=rest):
            found = operator(name)(x, k, *rest, "tiled")
            if name == "row_column_lse":
                return [
                    part if valid is None else part * valid
                    for part, valid in zip(found, rest, strict=True)
                ]
            return {"repel": found[0], "top_lse": found[:3]}.get(name, found)

        leaves = x.requires_grad_(), k.requires_grad_()
        assert torch.autograd.gradcheck(differentiable, leaves)


def test_no_key_that_counts_and_a_gradient_of_zero():
    x, k, none = torch.ones(2, 3), torch.zeros(4, 3), torch.zeros(4, dtype=torch.bool)
    zeros = torch.zeros(2), torch.zeros(4)
    row, column = row_column_lse.operator(x, k, None, none, "tiled")
    for part in row_column_lse.operator_backward(
        x, k, None, none, row, column, *zeros, True, True, "tiled"
    ):
        assert (part == 0).all()
