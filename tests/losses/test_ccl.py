from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import close, cosine, mean, rows64, same_kind, softmax
from xdistill.losses.ccl import CCL, Composition, composition_loss, composition_terms
from xdistill.losses.jeffreys import jeffreys
from xdistill.losses.multiclass_nce import multiclass_nce
from xdistill.types import Outputs

TARGET = torch.tensor([0, 1, -1, 2, 1])
VALID = torch.tensor([True, True, True, True, False])


@pytest.fixture
def composition():
    torch.manual_seed(0)
    return Composition(4, 3).double()


@pytest.fixture
def inputs():
    return [rows64(5, 4), rows64(5, 4, seed=1), rows64(5, 3, seed=2)]


def test_composition_by_hand(composition):
    s, t = torch.tensor([[3.0, 4.0, 0, 0]]).double(), torch.tensor([[0, 0, 0, 2.0]]).double()
    emb_m, logits_m = composition(s, t)
    both = torch.tensor([0, 0, 0, 1.0, 0.6, 0.8, 0, 0]).double()
    weight, bias = composition.residual.weight, composition.residual.bias
    torch.testing.assert_close(emb_m[0], t[0] + weight @ both + bias)
    head = composition.classifier
    torch.testing.assert_close(logits_m[0], head.weight @ emb_m[0] + head.bias)


def test_composition_loss_is_the_sum_of_its_formula(composition, inputs):
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


def test_composition_without_target(composition, inputs):
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


def test_value_is_the_composition_loss():
    loss = CCL(temperature=0.3, divergence_weight=0.7, dim=8, num_classes=3)
    batch = random_batch()
    s, t = batch.student, batch.teacher
    exact = composition_loss(
        loss.composition, s.embedding, t.embedding, s.logits, batch.target, None, 0.3, 0.7
    )
    torch.testing.assert_close(loss(s, t, batch.target), exact)


def test_twin():
    """The whole loss in Python floats, from the linear maps on."""
    torch.manual_seed(0)
    loss = CCL(dim=4, num_classes=3).double()
    batch = random_batch(5, 4, 4, dtype=torch.float64)
    target = [0, 1, 0, 2, 1]
    s, t = batch.student.embedding, batch.teacher.embedding
    with torch.no_grad():
        m, z_m = loss.composition(s, t)
    s, t, m = s.tolist(), t.tolist(), m.tolist()

    def nce(anchors, keys):
        values = []
        for i, anchor in enumerate(anchors):
            p = softmax([cosine(anchor, key) / 0.5 for key in keys])
            same = [same_kind(i, j, target) for j in range(len(keys))]
            values.append(
                mean([-math.log(q) for q, own in zip(p, same, strict=True) if own])
                + mean([-math.log(1 - q) for q, own in zip(p, same, strict=True) if not own])
            )
        return mean(values)

    ce = mean([-math.log(softmax(z)[y]) for z, y in zip(z_m.tolist(), target, strict=True)])
    divergence = mean(
        [
            sum(
                (p - q) * (math.log(p) - math.log(q))
                for p, q in zip(softmax(z), softmax(other), strict=True)
            )
            for z, other in zip(batch.student.logits.tolist(), z_m.tolist(), strict=True)
        ]
    )
    exact = ce + nce(s, m) + nce(m, s) + nce(s, t) + nce(t, s) + 0.5 * divergence
    close(loss(batch.student, batch.teacher, torch.tensor(target)).detach(), exact)


def test_the_composition_is_trained():
    loss = bound_loss("ccl")
    gradients = step(loss, random_batch()).parameters
    assert all(gradient.any() for gradient in gradients.values())
    assert set(loss.terms) == {"ccl", "ccl/classification", "ccl/contrast", "ccl/divergence"}


def test_width_of_the_composition_follows_the_projectors():
    assert CCL().bind(8, 5, 3).composition.dim == 5
    assert CCL(dim=6).bind(8, 8, 3).composition.dim == 6
    assert CCL().bind(8, 8, 3).composition.dim == 8
    loss = CCL()
    loss.attach(torch.nn.Linear(8, 7), torch.nn.Linear(5, 7))
    assert loss.bind(8, 5, 3).composition.dim == 7


def test_errors():
    batch = random_batch()
    with pytest.raises(ValueError, match="needs num_classes"):
        CCL().bind(8, 8)
    with pytest.raises(ValueError, match="no composition yet"):
        CCL()(batch.student, batch.teacher, batch.target)
    with pytest.raises(ValueError, match="made for 4 classes, the student has 3"):
        CCL().bind(8, 8, 4)(batch.student, batch.teacher, batch.target)


def test_closed_form():
    # One row, so that no pair of rows contrasts. A composition of zeros says ½ and ½: log 2. The
    # student says ¾ and ¼: ½·J = ½·(¼·log 1.5 − ¼·log 0.5) = ⅛·log 3.
    loss = CCL(dim=2, num_classes=2)
    torch.nn.init.zeros_(loss.composition.classifier.weight)
    torch.nn.init.zeros_(loss.composition.classifier.bias)
    student = Outputs(torch.tensor([[1.0, 0.0]]), torch.tensor([[math.log(3), 0.0]]))
    teacher = Outputs(torch.tensor([[0.0, 1.0]]))
    value = loss(student, teacher, torch.tensor([1]))
    torch.testing.assert_close(value, torch.tensor(math.log(2) + math.log(3) / 8))
