"""The kernels in extreme cases: nothing valid, all rows equal, enormous scores."""

from __future__ import annotations

import math

import pytest
import torch

from tests.kernels.problems import EXACT, IMPLS, LABELLED, OPS, Problem, make, run, unit
from tests.kernels.tolerance import check

every_op = pytest.mark.parametrize("op", OPS)
every_impl = pytest.mark.parametrize("impl", IMPLS)
labelled = pytest.mark.parametrize("op", LABELLED)


def right(problem: Problem, impl: str) -> None:
    """Within rounding in float64, and by the error rule in float32."""
    if impl in EXACT:
        found, true = run(problem.kernel(impl), problem.inputs), run(problem.twin(), problem.inputs)
        torch.testing.assert_close(found.all(), true.all(), rtol=1e-9, atol=1e-10)
    check(problem, impl, torch.float32)


def zero(problem: Problem, impl: str) -> None:
    """The value and every gradient are exactly 0."""
    single = problem.to(torch.float32)
    for part in run(single.kernel(impl), single.inputs).all():
        torch.testing.assert_close(part, torch.zeros_like(part), rtol=0, atol=0)


def all_false(problem: Problem, *names: str) -> dict:
    return {name: torch.zeros_like(problem.rest[name]) for name in names}


@every_impl
@labelled
def test_one_class(op, impl):
    right(make(op, 9, 9, 4, classes=1, unknown=0.0, absent=0.0), impl)


@every_impl
@every_op
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_all_rows_equal(op, impl, scale):
    problem = make(op, 12, 12, 4, scale=scale)
    a, k, *numbers = problem.inputs
    equal = (a[:1].expand_as(a).clone(), a[:1].expand_as(k).clone(), *numbers)
    right(Problem(op, equal, problem.rest).having(extra=a[:1].expand(5, -1).clone()), impl)


@every_impl
@labelled
def test_no_positive(op, impl):
    problem = make(op, 6, 5, 4, paired=False, unknown=0.0)
    names = ("row_labels", "key_labels", "extra_labels")
    other = {name: problem.rest[name] + 10 * place for place, name in enumerate(names)}
    zero(problem.having(**other), impl)


@every_impl
@labelled
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("side", ["row_labels", "key_labels", "both"])
def test_without_a_single_label(op, impl, paired, side):
    problem = make(op, 8, 8, 4, paired=paired)
    names = {
        "row_labels": ("row_labels",),
        "key_labels": ("key_labels", "extra_labels"),
        "both": ("row_labels", "key_labels", "extra_labels"),
    }
    unknown = {name: torch.full_like(problem.rest[name], -1) for name in names[side]}
    (right if paired else zero)(problem.having(**unknown), impl)


@every_impl
@labelled
def test_rows_whose_only_positive_is_extra(op, impl):
    problem = make(op, 6, 6, 4, paired=False, unknown=0.0, absent=0.0, extra=2)
    here, there = torch.arange(6), torch.arange(6) + 6
    right(
        problem.having(row_labels=here, key_labels=there, extra_labels=torch.tensor([2, 4])), impl
    )


@every_impl
@every_op
@pytest.mark.parametrize("extra", [0, 1, 40])
def test_extra_keys(op, impl, extra):
    right(make(op, 7, 7, 4, extra=extra), impl)


@every_impl
@every_op
def test_an_empty_bank_is_no_bank(op, impl):
    empty, none = make(op, 7, 7, 4, extra=0), make(op, 7, 7, 4, extra=None)
    found, expected = (
        run(p.kernel(impl), p.inputs) for p in (empty.to(torch.float32), none.to(torch.float32))
    )
    torch.testing.assert_close(found.all(), expected.all())


@every_impl
@every_op
def test_a_bank_of_nothing_valid_is_no_bank(op, impl):
    some = make(op, 7, 7, 4).to(torch.float32)
    rest = {name: value for name, value in some.rest.items() if not name.startswith("extra")}
    none = Problem(op, some.inputs, rest)
    some = some.having(**all_false(some, "extra_valid"), extra=some.rest["extra"] * math.nan)
    found, expected = (run(problem.kernel(impl), problem.inputs) for problem in (some, none))
    torch.testing.assert_close(found.all(), expected.all())


@every_impl
@every_op
def test_no_gradient_goes_to_extra_keys(op, impl):
    problem = make(op, 7, 7, 4).to(torch.float32)
    bank = problem.rest["extra"].requires_grad_()
    leaves = [x.clone().requires_grad_() for x in problem.inputs]
    problem.kernel(impl)(*leaves).backward()
    assert bank.grad is None


@every_impl
@every_op
def test_all_invalid(op, impl):
    problem = make(op, 6, 6, 4)
    names = [name for name in problem.rest if name.endswith("valid")]
    a, k, *numbers = problem.inputs
    nan = (torch.full_like(a, math.nan), torch.full_like(k, math.nan), *numbers)
    zero(Problem(op, nan, problem.rest).having(**all_false(problem, *names)), impl)


@every_impl
@labelled
@pytest.mark.parametrize("name", ["valid", "key_valid"])
def test_one_side_invalid(op, impl, name):
    problem = make(op, 6, 6, 4, extra=None)
    zero(problem.having(**all_false(problem, name)), impl)


@every_impl
@labelled
def test_all_keys_invalid_and_a_bank_that_is_not(op, impl):
    problem = make(op, 6, 6, 4, paired=False, unknown=0.0, extra=9)
    right(problem.having(**all_false(problem, "key_valid")), impl)


@every_impl
@every_op
def test_rows_that_do_not_count_may_hold_nan(op, impl):
    problem = make(op, 11, 11, 4, extra=6, absent=0.4)
    a, k, *numbers = problem.inputs
    valid, bank_valid = problem.rest["valid"], problem.rest["extra_valid"]
    key_valid = problem.rest.get("key_valid", valid)
    bad = (
        torch.where(valid[:, None], a, math.nan),
        torch.where(key_valid[:, None], k, math.nan),
        *numbers,
    )
    bank = torch.where(bank_valid[:, None], problem.rest["extra"], math.inf)
    problem = Problem(op, bad, problem.rest).having(extra=bank)
    right(problem, impl)
    single = problem.to(torch.float32)
    _, da, dk, *_ = run(single.kernel(impl), single.inputs).all()
    assert (da[~valid] == 0).all()
    assert (dk[~key_valid] == 0).all()


@every_impl
@labelled
def test_with_pairs_the_mask_of_rows_is_that_of_keys(op, impl):
    problem = make(op, 9, 9, 4, absent=0.4, extra=None).to(torch.float32)
    valid = problem.rest["valid"]
    one, both = problem.having(key_valid=None), problem.having(key_valid=valid)
    found, expected = (run(p.kernel(impl), p.inputs) for p in (one, both))
    torch.testing.assert_close(found.all(), expected.all(), rtol=0, atol=0)


@every_impl
@every_op
@pytest.mark.parametrize("scale", [1.0, 14.0, 29.9, 30.1, 100.0])
def test_scales(op, impl, scale):
    right(make(op, 20, 20, 5, scale=scale), impl)


@every_impl
@every_op
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_enormous_scores(op, impl, size):
    """The softmax is one-hot: values and gradients are those of a maximum, to the rounding of s."""
    problem = make(op, 10, 10, 3, scale=1.0, unknown=0.0, absent=0.0)
    a, k, scale, *bias = problem.inputs
    problem = Problem(op, (a * size, k, scale, *bias), problem.rest)
    if impl in EXACT:
        found, true = run(problem.kernel(impl), problem.inputs), run(problem.twin(), problem.inputs)
        torch.testing.assert_close(found.all(), true.all(), rtol=1e-9, atol=1e-9)
    single = problem.to(torch.float32)
    found, true = run(single.kernel(impl), single.inputs), run(single.twin(), single.inputs)
    for part, other in zip(found.all(), true.all(), strict=True):
        torch.testing.assert_close(part, other, rtol=1e-4, atol=1e-6 * size)


@every_impl
@every_op
def test_scores_of_one_sign(op, impl):
    """A row whose scores are all very low must not be treated as one without candidates."""
    g = torch.Generator().manual_seed(0)
    a, k = unit(g, 8, 3).abs(), -unit(g, 8, 3).abs()
    problem = make(op, 8, 8, 3, scale=1e4, extra=None)
    _, _, *numbers = problem.inputs
    problem = Problem(op, (a, k, *numbers), problem.rest)
    single = problem.to(torch.float32)
    found, true = run(single.kernel(impl), single.inputs), run(single.twin(), single.inputs)
    torch.testing.assert_close(found.value, true.value, rtol=1e-4, atol=1e-2)
    if impl in EXACT:
        right_all = run(problem.twin(), problem.inputs).all()
        torch.testing.assert_close(
            run(problem.kernel(impl), problem.inputs).all(), right_all, rtol=1e-9, atol=1e-9
        )


@every_impl
@every_op
@pytest.mark.parametrize(("n", "m"), [(3, 0), (0, 3), (0, 0)])
def test_no_rows_or_no_keys(op, impl, n, m):
    zero(make(op, n, m, 4, extra=None), impl)
    zero(make(op, n, m, 4, extra=0), impl)


@every_impl
@every_op
def test_no_keys_but_a_bank(op, impl):
    right(make(op, 3, 0, 4, unknown=0.0, absent=0.0), impl)


@every_impl
@every_op
def test_a_key_without_gradient_gets_none(op, impl):
    problem = make(op, 6, 6, 4).to(torch.float32)
    whole = run(problem.kernel(impl), problem.inputs)
    for place in range(len(problem.inputs)):
        leaves = [x.clone() for x in problem.inputs]
        leaves[place].requires_grad_()
        problem.kernel(impl)(*leaves).backward()
        torch.testing.assert_close(leaves[place].grad, whole.gradients[place])
        assert all(x.grad is None for at, x in enumerate(leaves) if at != place)
