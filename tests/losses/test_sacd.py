"""The flagship as the sum of its terms, and where each term's gradient goes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xdistill.losses.ccl import composition_loss
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.khn import KHN
from xdistill.losses.parts.structure import affinity
from xdistill.losses.sacd import SACD
from xdistill.losses.sp import sp
from xdistill.registry import create_loss
from xdistill.types import Outputs

D_S, D_T, CLASSES = 5, 6, 3


def loss_of(**options):
    torch.manual_seed(0)
    options = {"dim": 4, "bank_size": 16, "margin": 1.5, **options}
    return SACD(**options, student_dim=D_S, teacher_dim=D_T, num_classes=CLASSES).double()


def batch(seed=0, b=6):
    g = torch.Generator().manual_seed(seed)
    student, logits, teacher = (
        torch.randn(b, n, generator=g, dtype=torch.float64, requires_grad=True)
        for n in (D_S, CLASSES, D_T)
    )
    return Outputs(student, logits), Outputs(teacher), torch.randint(0, 3, (b,), generator=g)


def only(part, **options):
    """The loss with the weights of the other parts at 0."""
    weights = {f"{name}_weight": float(name == part) for name in ("contrast", "structure")}
    weights["composition_weight"] = float(part == "composition")
    return loss_of(**weights, composition=part == "composition", **options)


def test_its_name_and_defaults():
    loss = create_loss("sacd").bind(32, 48, 5)
    assert loss.bank.keys.shape == (4096, 48)
    assert loss.student_projector(torch.zeros(1, 32)).shape == (1, 128)
    assert loss.graph is None and loss.composer is None
    assert loss.structure == "affinity"


def test_projectors_are_made_even_for_equal_widths():
    assert SACD(dim=7, student_dim=7, teacher_dim=7).student_projector is not None


@pytest.mark.parametrize("structure", ["affinity", "graph", "gram", None])
@pytest.mark.parametrize("composition", [True, False])
def test_it_is_the_weighted_sum_of_its_terms(structure, composition):
    weights = {"contrast_weight": 0.7, "structure_weight": 2.0, "composition_weight": 0.3}
    loss = loss_of(structure=structure, composition=composition, **weights)
    value = loss(*batch())
    parts = {name: term for name, term in loss.terms.items() if name != "sacd"}
    expected = {"sacd/contrast", "sacd/structure", "sacd/composition"}
    expected -= {"sacd/structure"} if structure is None else set()
    expected -= set() if composition else {"sacd/composition"}
    assert parts.keys() == expected
    total = sum(weights[name.removeprefix("sacd/") + "_weight"] * x for name, x in parts.items())
    assert torch.allclose(value, total)
    assert loss.terms["sacd"] == value.detach()
    assert not any(term.requires_grad for term in loss.terms.values())


def test_structure_compares_the_encoders_own_embeddings_unless_told_otherwise():
    assert loss_of().structure_space == loss_of(structure="gram").structure_space == "raw"
    assert loss_of(structure="graph").structure_space == "projected"
    loss = only("structure", structure="affinity")
    student, teacher, target = batch()
    loss(student, teacher, target).backward()
    assert student.embedding.grad.abs().sum() > 0
    grads = [p.grad for p in loss.student_projector.parameters()]
    assert all(grad is None or not grad.any() for grad in grads)


def test_its_parts_are_the_published_functions():
    loss = loss_of(composition=True, structure_space="projected")
    student, teacher, target = batch()
    contrast = KHN(bank_size=16, margin=1.5)
    contrast.attach(loss.student_projector, loss.teacher_projector)
    contrast.bind(D_S, D_T).double()
    v = loss.student_projector(student.embedding)
    e = loss.teacher_projector(teacher.embedding)
    composed = composition_loss(loss.composer, v, e, student.logits, target)
    loss(student, teacher, target)
    assert torch.allclose(loss.terms["sacd/contrast"], contrast(student, teacher, target))
    assert torch.allclose(loss.terms["sacd/structure"], affinity(v, e, temperature=0.1))
    assert torch.allclose(loss.terms["sacd/composition"], composed)


@pytest.mark.parametrize("structure", ["affinity", "gram"])
def test_the_structure_of_the_encoders_themselves(structure):
    loss = loss_of(structure=structure, structure_space="raw")
    student, teacher, target = batch()
    loss(student, teacher, target)
    v, e = (F.normalize(x.embedding, dim=1) for x in (student, teacher))
    expected = affinity(v, e, temperature=0.1) if structure == "affinity" else sp(v, e)
    assert torch.allclose(loss.terms["sacd/structure"], expected)


@pytest.mark.parametrize("structure", ["affinity", "graph", "gram"])
def test_structure_teaches_the_student_alone(structure):
    loss = only("structure", structure=structure, structure_space="projected")
    student, teacher, target = batch()
    loss(student, teacher, target).backward()
    assert student.embedding.grad.abs().sum() > 0
    assert any(p.grad.abs().sum() > 0 for p in loss.student_projector.parameters())
    assert teacher.embedding.grad is None
    assert all(p.grad is None or (p.grad == 0).all() for p in loss.teacher_projector.parameters())


@pytest.mark.parametrize("part", ["contrast", "composition"])
def test_other_parts_train_both_projectors(part):
    loss = only(part, form="nce")
    student, teacher, target = batch()
    loss(student, teacher, target).backward()
    assert teacher.embedding.grad is None
    for projector in (loss.student_projector, loss.teacher_projector):
        assert any(p.grad.abs().sum() > 0 for p in projector.parameters())


@pytest.mark.parametrize("structure", ["affinity", "graph", "gram", None])
@pytest.mark.parametrize("form", ["triplet", "nce"])
@pytest.mark.parametrize("case", ["one row", "one class", "equal", "zeros", "huge", "none valid"])
def test_it_stays_finite(case, form, structure):
    torch.manual_seed(0)
    b = 1 if case == "one row" else 6
    loss = SACD(
        dim=4, bank_size=8, form=form, structure=structure, composition=True,
        student_dim=4, teacher_dim=4, num_classes=2,
    )  # fmt: skip
    for _ in range(2):
        student, teacher, logits = torch.randn(b, 4), torch.randn(b, 4), torch.randn(b, 2)
        target = torch.arange(b) % (1 if case == "one class" else 2)
        valid = torch.full((b,), case != "none valid")
        if case == "none valid":
            teacher[:] = torch.nan
        if case == "equal":
            student, teacher = torch.ones(b, 4), torch.ones(b, 4)
        if case == "zeros":
            student, teacher = torch.zeros(b, 4), torch.zeros(b, 4)
        if case == "huge":
            student, teacher, logits = 1e4 * student, 1e4 * teacher, 1e4 * logits
        student.requires_grad_()
        loss.zero_grad()
        value = loss(Outputs(student, logits), Outputs(teacher), target, valid=valid)
        value.backward()
        assert value.isfinite() and student.grad.isfinite().all()
        gradients = [p.grad for p in loss.parameters() if p.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)
        if case == "none valid":
            assert value == 0 and (student.grad == 0).all()
            assert all((gradient == 0).all() for gradient in gradients)


def test_rows_without_a_teacher_take_no_part():
    valid = torch.tensor([True, False, True, True, False, True])
    student, teacher, target = batch()
    expected = loss_of(composition=True)(student.rows(valid), teacher.rows(valid), target[valid])
    with torch.no_grad():
        teacher.embedding[~valid] = torch.nan
    loss = loss_of(composition=True)
    value = loss(student, teacher, target, valid=valid)
    value.backward()
    assert torch.allclose(value, expected)
    assert (student.embedding.grad[~valid] == 0).all()


def test_the_order_of_rows_does_not_matter():
    student, teacher, target = batch(b=9)
    order = torch.randperm(9)
    value = loss_of(composition=True)(student, teacher, target)
    again = loss_of(composition=True)(student.rows(order), teacher.rows(order), target[order])
    assert torch.allclose(value, again)


@pytest.mark.parametrize("structure", ["affinity", "graph", "gram"])
def test_gradcheck(structure):
    loss = loss_of(structure=structure, form="nce").eval()
    student, teacher, target = batch(b=4)

    def value(embedding):
        return loss(student.with_embedding(embedding), teacher, target)

    assert torch.autograd.gradcheck(value, student.embedding)


@pytest.mark.parametrize("structure", ["affinity", "graph"])
def test_the_state_continues_where_it_stopped(structure):
    loss, other = (loss_of(structure=structure, composition=True) for _ in range(2))
    loss(*batch(0))
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.mul_(0.5)
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    for seed in (1, 2):
        assert torch.equal(loss(*batch(seed)), other(*batch(seed)))


def test_half_precision_and_autocast_are_lifted():
    loss = SACD(dim=4, bank_size=8, student_dim=D_S, teacher_dim=D_T)
    student, teacher, target = batch()
    half = student.map(halved), teacher.map(halved), target
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(*half)
    assert value.dtype == torch.float32 and value.isfinite()


def halved(x):
    return x.to(torch.bfloat16)


def test_it_composes_and_learns():
    torch.manual_seed(0)
    loss = CrossEntropy() + 0.5 * SACD(dim=8, bank_size=64)
    loss.bind(8, 8, CLASSES)
    centres = 2 * torch.randn(CLASSES, 8)
    encoder, head = nn.Linear(10, 8), nn.Linear(8, CLASSES)
    parameters = [*encoder.parameters(), *head.parameters(), *loss.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    mix = torch.randn(8, 10)
    contrasts = []
    for _ in range(60):
        target = torch.randint(0, CLASSES, (16,))
        rich = centres[target] + 0.3 * torch.randn(16, 8)
        x = encoder(rich @ mix + torch.randn(16, 10))
        value = loss(Outputs(x, head(x)), Outputs(rich), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        contrasts.append(loss.terms["sacd/structure"].item())
    assert {"cross_entropy", "sacd", "sacd/contrast", "sacd/structure"} == loss.terms.keys()
    assert sum(contrasts[-10:]) < 0.5 * sum(contrasts[:10])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"structure": "tree"}, "unknown structure 'tree'"),
        ({"structure_space": "shared"}, "unknown structure_space"),
        ({"structure": "graph", "structure_space": "raw"}, "use structure_space='projected'"),
        ({"structure_neighbours": 0}, "must be a whole number of at least 1"),
        ({"form": "pairs"}, "unknown form"),
        ({"composition": True, "student_dim": 4, "teacher_dim": 4}, "needs num_classes, got None"),
    ],
)
def test_wrong_options_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        SACD(**options)


def test_composition_needs_logits():
    loss = loss_of(composition=True)
    student, teacher, target = batch()
    with pytest.raises(ValueError, match="num_classes"):
        loss(Outputs(student.embedding), teacher, target)


def test_closed_form():
    # Student rows at the places of each other's teacher rows: d_p = 2, d_n = 0, and each anchor
    # pays 2 − 0 + ½, both ways. Two nodes have one edge each, so their graphs agree.
    loss = SACD(dim=None, bank_size=0, mining="hard", num_negatives=1).bind(2, 2)
    student, teacher = Outputs(torch.eye(2)), Outputs(torch.eye(2).flip(0))
    value = loss(student, teacher, torch.tensor([0, 1]))
    torch.testing.assert_close(value, torch.tensor(2 * 2.5))
    assert loss.terms["sacd/structure"] == 0
