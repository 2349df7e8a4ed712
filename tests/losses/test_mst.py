from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from xdistill.losses.mst import MST, SpecialisedTeachers, balance, mst_terms, route
from xdistill.types import Outputs

TARGETS = [None, [0, 1, 1, 0, 2, 1], [0, -1, 2, 1, -1, -1], [-1] * 6]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def tempered(logits, temperature):
    return softmax([z / temperature for z in logits])


def twin(student, teachers, gate, target, valid, k, temperature):
    """The four terms on Python lists."""
    student, teachers, gate, target = kept(valid, student, teachers, gate, target)
    distillation, task, drift = [], [], []
    for i, (z_s, views, scores) in enumerate(zip(student, teachers, gate, strict=True)):
        chosen = sorted(range(len(scores)), key=lambda m, s=scores: -s[m])[:k]
        p_s = tempered(z_s, temperature)
        distillation.append(mean([kl(tempered(views[m], temperature), p_s) for m in chosen]))
        drift.append(mean([kl(p_s, tempered(view, temperature)) for view in views]))
        if target is not None and target[i] >= 0:
            task.append(mean([-math.log(softmax(views[m])[target[i]]) for m in chosen]))
    probability = [mean([softmax(row)[m] for row in gate]) for m in range(len(gate[0]))]
    uniform = [1 / len(probability)] * len(probability)
    scale = temperature**2
    return scale * mean(distillation), mean(task), scale * mean(drift), kl(uniform, probability)


def test_closed_form():
    # Teacher 1 is chosen; it says 3/4 to 1/4 and the student is undecided. The gate gives it 2/3.
    student, gate = torch.zeros(1, 2), torch.tensor([[0.0, math.log(2.0)]])
    teachers = torch.tensor([[[5.0, 0.0], [math.log(3.0), 0.0]]])
    terms = mst_terms(student, teachers, gate, torch.tensor([1]), temperature=1.0)
    distillation = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    torch.testing.assert_close(terms.distillation, torch.tensor(distillation))
    torch.testing.assert_close(terms.task, torch.tensor(math.log(4.0)))
    exact = 0.5 * math.log(0.5 / (1 / 3)) + 0.5 * math.log(0.5 / (2 / 3))
    torch.testing.assert_close(terms.balance, torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_twin(valid, target, k):
    student, teachers, gate = rows64(6, 3), 2 * rows64(6, 4, 3, seed=1), rows64(6, 4, seed=2)
    terms = mst_terms(student, teachers, gate, optional(target), optional(valid), k, 2.0)
    lists = (student.tolist(), teachers.tolist(), gate.tolist())
    for ours, theirs in zip(terms, twin(*lists, target, valid, k, 2.0), strict=True):
        close(ours, theirs)


def test_parity_with_torch_and_numpy():
    """KLDivLoss on the logits that top-k picks, and numpy for the balance."""
    student, teachers, gate = rows64(6, 3), 2 * rows64(6, 4, 3, seed=1), rows64(6, 4, seed=2)
    terms = mst_terms(student, teachers, gate, k=2, temperature=4.0)
    best = gate.topk(2, dim=1).indices
    loss = nn.KLDivLoss(reduction="batchmean")
    picked = [teachers[torch.arange(6), best[:, one]] for one in (0, 1)]
    log_s = (student / 4).log_softmax(1)
    expected = sum(16 * loss(log_s, (one / 4).softmax(1)) for one in picked) / 2
    torch.testing.assert_close(terms.distillation, expected)
    drift = [16 * loss((teachers[:, m] / 4).log_softmax(1), log_s.exp()) for m in range(4)]
    torch.testing.assert_close(terms.drift, torch.stack(drift).mean())
    weights = np.exp(gate.numpy()) / np.exp(gate.numpy()).sum(axis=1, keepdims=True)
    close(terms.balance, float(-np.log(4 * weights.mean(axis=0)).mean()))


def test_gradcheck():
    student, teachers, gate = rows64(3, 3), rows64(3, 4, 3, seed=1), rows64(3, 4, seed=2)
    target, valid = torch.tensor([0, -1, 2]), torch.tensor([True, True, False])

    def terms(s, t):
        return mst_terms(s, t, gate, target, valid, k=2)

    gradcheck(lambda s: terms(s, teachers).distillation, student)
    gradcheck(lambda t: terms(student, t).task + terms(student, t).drift, teachers)
    gradcheck(lambda g: balance(g, valid), gate)


def test_each_term_teaches_those_it_is_for():
    tensors = [rows64(4, 3), rows64(4, 5, 3, seed=1), rows64(4, 5, seed=2)]
    leaves = [tensor.requires_grad_() for tensor in tensors]
    terms = mst_terms(*leaves, torch.tensor([0, 1, 2, 0]))
    reached = {
        name: [
            gradient is not None and bool(gradient.any())
            for gradient in torch.autograd.grad(term, leaves, retain_graph=True, allow_unused=True)
        ]
        for name, term in terms._asdict().items()
    }
    assert reached == {  # student, teachers, gate
        "distillation": [True, False, True],
        "task": [False, True, True],
        "drift": [False, True, False],
        "balance": [False, False, True],
    }


@pytest.mark.parametrize("k", [1, 3])
def test_the_gate_feels_what_every_teacher_costs(k):
    """Its gradient is that of Σ softmax(g)·c, g_m·(c_m − Σ g·c), whatever it chose."""
    gate, cost = rows64(5, 3).requires_grad_(), rows64(5, 3, seed=1)
    weights = route(gate, k)
    assert torch.equal(weights.detach().sum(dim=1), torch.ones(5, dtype=torch.float64))
    assert ((weights == 0) | (weights == 1 / k)).all()
    (weights * cost).sum().backward()
    soft = gate.detach().softmax(dim=1)
    expected = soft * (cost - (soft * cost).sum(dim=1, keepdim=True))
    torch.testing.assert_close(gate.grad, expected)


@pytest.mark.parametrize("target", [True, False])
def test_the_gate_learns_without_the_balance(target):
    batch = random_batch()
    loss = bound_loss("mst", balance_weight=0.0)
    result = step(loss, batch if target else batch.change(target=None))
    assert all(
        gradient.any()
        for name, gradient in result.parameters.items()
        if name.startswith("gate.2") or "masks" in name
    )


class Panel(nn.Module):
    """Four teachers of which each knows the rows of one kind, told by the embedding."""

    def forward(self, embedding, logits):
        right = 6 * logits[:, None].expand(-1, 4, -1)
        knows = torch.eye(4)[embedding.argmax(dim=1)][:, :, None]
        return torch.where(knows > 0, right, right.roll(1, dims=2))


@pytest.mark.parametrize("k", [1, 2])
def test_the_gate_finds_the_teacher_who_knows(k):
    torch.manual_seed(0)
    kind, target = torch.arange(64) % 4, torch.randint(0, 4, (64,))
    truth, one_hot = torch.eye(4)[target], torch.eye(4)[kind]
    loss = MST(k=k).bind(4, 4, num_classes=4)
    loss.teachers = Panel()
    student = Outputs(one_hot, 3 * one_hot + 0.1 * torch.randn(64, 4))
    teacher = Outputs(one_hot, truth)
    optimizer = torch.optim.Adam(loss.gate.parameters(), 0.05)
    before = loss.gate(student.logits).argmax(dim=1)
    for _ in range(60):
        optimizer.zero_grad()
        loss(student, teacher, target).backward()
        optimizer.step()
    assert (before == kind).float().mean() < 0.9
    assert (loss.gate(student.logits).argmax(dim=1) == kind).all()


def test_masks_do_not_pile_up():
    loss, batch = bound_loss("mst").eval(), random_batch()
    kept_embedding = batch.teacher.embedding.clone()
    first = loss(batch.student, batch.teacher, batch.target)
    assert torch.equal(loss(batch.student, batch.teacher, batch.target), first)
    assert torch.equal(batch.teacher.embedding, kept_embedding)
    # A teacher's view does not depend on how many others there are.
    whole = loss.teachers(batch.teacher.embedding, batch.teacher.logits)
    del loss.teachers.masks[0]
    torch.testing.assert_close(
        loss.teachers(batch.teacher.embedding, batch.teacher.logits), whole[:, 1:]
    )


def test_a_view_is_the_classifier_s_answer_to_the_masked_embedding():
    torch.manual_seed(0)
    classifier, embedding = nn.Linear(6, 3), torch.randn(5, 6)
    views = SpecialisedTeachers(6, 3, 2, classifier)
    seen = views(embedding, classifier(embedding))
    for place, mask in enumerate(views.masks):
        torch.testing.assert_close(seen[:, place], classifier(mask(embedding) * embedding))
    assert not views.readout.weight.requires_grad and views.readout.weight.is_leaf
    assert classifier.weight.requires_grad


def test_the_classifier_makes_the_parts_at_once():
    batch = random_batch()
    loss = MST(classifier=nn.Linear(8, 3))
    assert loss.bind(8, 8, num_classes=3) is loss and loss.num_classes == 3
    value = loss(batch.student, batch.teacher, batch.target)
    parts = sum(loss.terms[f"mst/{one}"] for one in ("distillation", "task", "drift", "balance"))
    torch.testing.assert_close(value.detach(), parts)


def test_balance_is_zero_when_all_are_used_alike():
    gate = 50 * torch.eye(4)
    close(balance(gate.double(), torch.ones(4, dtype=torch.bool)), 0.0)
    one_sided = balance(gate[[0, 0, 0, 0]].double(), torch.ones(4, dtype=torch.bool))
    assert one_sided > 30


def test_errors():
    batch = random_batch()
    with pytest.raises(ValueError, match="got k=5 and num_teachers=4"):
        MST(k=5)
    with pytest.raises(ValueError, match="needs num_classes, got None"):
        MST().bind(8, 8)
    with pytest.raises(ValueError, match="no gate yet; call loss.bind"):
        MST()(batch.student, batch.teacher, batch.target)
    with pytest.raises(ValueError, match="made for 4 classes, the student has 3"):
        MST(num_classes=4).bind(8, 8)(batch.student, batch.teacher, batch.target)
    with pytest.raises(ValueError, match="mst compares class logits"):
        bound_loss("mst")(batch.student, replace(batch.teacher, logits=None))
