from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.losses.loops import rows64
from xdistill.losses.ccl import Composition, composition_loss, composition_terms
from xdistill.losses.jeffreys import jeffreys
from xdistill.losses.multiclass_nce import multiclass_nce

TARGET = torch.tensor([0, 1, -1, 2, 1])
VALID = torch.tensor([True, True, True, True, False])


@pytest.fixture
def composition():
    torch.manual_seed(0)
    return Composition(4, 3).double()


@pytest.fixture
def inputs():
    return [rows64(5, 4), rows64(5, 4, seed=1), rows64(5, 3, seed=2)]


def test_forward_by_hand(composition):
    s, t = torch.tensor([[3.0, 4.0, 0, 0]]).double(), torch.tensor([[0, 0, 0, 2.0]]).double()
    emb_m, logits_m = composition(s, t)
    both = torch.tensor([0, 0, 0, 1.0, 0.6, 0.8, 0, 0]).double()
    weight, bias = composition.residual.weight, composition.residual.bias
    torch.testing.assert_close(emb_m[0], t[0] + weight @ both + bias)
    head = composition.classifier
    torch.testing.assert_close(logits_m[0], head.weight @ emb_m[0] + head.bias)


def test_value_is_the_sum_of_its_formula(composition, inputs):
    s, t, z = (x[VALID] for x in inputs)
    target = TARGET[VALID]
    m, z_m = composition(s, t)
    nce = [
        multiclass_nce(a, b, target, temperature=0.3) for a, b in [(s, m), (m, s), (s, t), (t, s)]
    ]
    exact = F.cross_entropy(z_m, target, ignore_index=-1) + sum(nce) + 0.7 * jeffreys(z, z_m)
    value = composition_loss(composition, *inputs, TARGET, VALID, 0.3, 0.7)
    torch.testing.assert_close(value, exact)


def test_the_student_gets_gradient_from_its_own_terms_only(composition, inputs):
    s, t, z = inputs
    s.requires_grad_()
    z.requires_grad_()
    whole = composition_loss(composition, s, t, z, TARGET, VALID)
    own = composition_terms(composition, s, t, z, TARGET, VALID, 0.5)
    got = torch.autograd.grad(whole, [s, z], retain_graph=True)
    expected = torch.autograd.grad(own.contrast + 0.5 * own.divergence, [s, z], retain_graph=True)
    torch.testing.assert_close(got, expected)
    (none,) = torch.autograd.grad(own.classification, s, allow_unused=True, retain_graph=True)
    assert none is None


def test_the_composition_learns_from_every_term(composition, inputs):
    for term in composition_terms(composition, *inputs, TARGET, VALID, 0.5):
        (gradient,) = torch.autograd.grad(term, composition.residual.weight, retain_graph=True)
        assert gradient.any()


def test_without_target(composition, inputs):
    terms = composition_terms(composition, *inputs, None, VALID, 0.5)
    assert terms.classification == 0
    assert terms.contrast > 0


def test_wrong_width(composition):
    with pytest.raises(ValueError, match="width 4, the teacher's embedding has 5"):
        composition(torch.zeros(2, 4).double(), torch.zeros(2, 5).double())


def test_gradcheck(composition, inputs):
    # Everything but the classification, whose detached student gradcheck would rightly miss.
    leaves = [x.clone().requires_grad_() for x in inputs]

    def own_terms(s, t, z):
        terms = composition_terms(composition, s, t, z, TARGET, VALID, 0.5)
        return terms.contrast + 0.5 * terms.divergence

    assert torch.autograd.gradcheck(own_terms, leaves)
