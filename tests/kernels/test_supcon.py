"""Tests of `supcon` alone: which keys count, and what follows from it."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from torch.nn.functional import normalize

from tests.kernels.problems import EXACT, IMPLS, make, run
from tests.losses.parity import agree
from xdistill.kernels import infonce, supcon

every_impl = pytest.mark.parametrize("impl", IMPLS)


@every_impl
def test_closed_form(impl):
    # Two keys of the row's class with scores 2 and 0, one of another class with score 0.
    a, k = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    value = supcon(a, k, 2.0, torch.tensor([4]), torch.tensor([4, 4, 7]), impl=impl)
    torch.testing.assert_close(value, torch.tensor(math.log(math.exp(2) + 2) - 1.0))


@every_impl
def test_a_key_of_unknown_class_is_no_candidate_of_a_labelled_row(impl):
    a, k = torch.ones(1, 1), torch.ones(3, 1)
    classes = torch.tensor([1, -1, 2])
    value = supcon(a, k, 1.0, torch.tensor([1]), classes, impl=impl)
    torch.testing.assert_close(value, torch.tensor(math.log(2)))


@every_impl
def test_a_row_of_unknown_class_meets_every_key(impl):
    a, k = torch.ones(1, 1), torch.ones(3, 1)
    value = supcon(a, k, 1.0, torch.tensor([-1]), torch.tensor([1, -1, 2]), paired=True, impl=impl)
    torch.testing.assert_close(value, torch.tensor(math.log(3)))


@every_impl
def test_a_row_without_a_positive_is_left_out_of_the_mean(impl):
    problem = make("supcon", 5, 8, 4, paired=False, unknown=0.0, absent=0.0).to(torch.float32)
    lonely = problem.having(
        row_labels=torch.where(torch.arange(5) == 2, 99, problem.rest["row_labels"])
    )
    rest = torch.tensor([0, 1, 3, 4])
    (a, k, scale), row_labels = problem.inputs, problem.rest["row_labels"]
    found = run(lonely.kernel(impl), problem.inputs)
    value, da, *others = run(
        problem.having(row_labels=row_labels[rest]).kernel(impl), (a[rest], k, scale)
    ).all()
    torch.testing.assert_close((found.value, *found.gradients[1:]), (value, *others))
    torch.testing.assert_close(found.gradients[0][rest], da)
    assert (found.gradients[0][2] == 0).all()


@every_impl
def test_without_labels_it_is_one_direction_of_infonce(impl):
    problem = make("supcon", 9, 9, 4, labels=False, extra=None).to(torch.float32)
    a, k, scale = problem.inputs
    mask = problem.rest["valid"]
    forth = supcon(a, k, scale, paired=True, valid=mask, impl=impl)
    back = supcon(k, a, scale, paired=True, valid=mask, impl=impl)
    both = infonce(a, k, scale, valid=mask, impl=impl)
    torch.testing.assert_close(0.5 * (forth + back), both)


@every_impl
def test_names_of_classes_do_not_matter(impl):
    problem = make("supcon", 12, 12, 4, classes=4).to(torch.float32)
    names = torch.tensor([10**12, 7, 0, 2**40, -1])  # the last for -1 itself
    renamed = {
        key: names[problem.rest[key]] for key in ("row_labels", "key_labels", "extra_labels")
    }
    one = run(problem.kernel(impl), problem.inputs)
    other = run(problem.having(**renamed).kernel(impl), problem.inputs)
    torch.testing.assert_close(one.all(), other.all())


@every_impl
def test_extra_keys_count_as_keys_do(impl):
    whole = make("supcon", 6, 10, 4, paired=False, extra=None).to(torch.float32)
    (a, k, scale), rest = whole.inputs, whole.rest
    split = whole.having(
        key_labels=rest["key_labels"][:6], key_valid=rest["key_valid"][:6],
        extra=k[6:], extra_labels=rest["key_labels"][6:], extra_valid=rest["key_valid"][6:],
    )  # fmt: skip
    one, other = run(whole.kernel(impl), whole.inputs), run(split.kernel(impl), (a, k[:6], scale))
    value, da, dk, dscale = one.all()
    torch.testing.assert_close(other.all(), (value, da, dk[:6], dscale))


@pytest.mark.parametrize("impl", EXACT)
def test_parity_with_pytorch_metric_learning(impl):
    problem = make("supcon", 9, 11, 5, paired=False, unknown=0.0, absent=0.0, extra=None)
    (a, k, _), row_labels, key_labels = (
        problem.inputs,
        problem.rest["row_labels"],
        problem.rest["key_labels"],
    )
    theirs = SupConLoss(temperature=0.2)
    agree(
        lambda a, k: supcon(normalize(a), normalize(k), 1 / 0.2, row_labels, key_labels, impl=impl),
        lambda a, k: theirs(a, row_labels, ref_emb=k, ref_labels=key_labels),
        a,
        k,
    )
