"""The loss around the kernel: projection, bank, training mode, state."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xdistill.kernels import khn
from xdistill.losses.khn import KHN
from xdistill.registry import create_loss
from xdistill.types import Outputs

D_S, D_T, D = 5, 6, 4


def loss_of(**options):
    torch.manual_seed(0)
    options = {"bank_size": 16, "dim": D, "margin": 1.5, "num_negatives": 2, **options}
    return KHN(**options, student_dim=D_S, teacher_dim=D_T).double()


def batch(seed, b=6, classes=3):
    g = torch.Generator().manual_seed(seed)
    student = torch.randn(b, D_S, generator=g, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(b, D_T, generator=g, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, classes, (b,), generator=g)
    return Outputs(student), Outputs(teacher), target, torch.randint(0, 20, (b,), generator=g)


def test_its_name_and_defaults():
    loss = create_loss("khn").bind(8, 8)
    assert isinstance(loss, KHN)
    assert loss.options["margin"] == 0.5 and loss.options["num_negatives"] == 5 and loss.symmetric
    assert loss.bank.keys.shape == (4096, 8)
    assert loss.student_projector is None  # equal widths need none
    assert create_loss("khn").bind(8, 6).student_projector is not None


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("form", "mining", "positives"),
    list(itertools.product(["triplet", "nce"], ["semihard", "hard", "random"], ["class", "pair"])),
)
def test_a_training_run_is_the_kernel_on_today_s_projections(form, mining, positives, symmetric):
    options = {"form": form, "mining": mining, "positives": positives}
    loss = loss_of(symmetric=symmetric, bank_size=9, **options)
    seen: list[tuple] = []
    for step in range(4):
        student, teacher, target, index = batch(step)
        v = F.normalize(loss.student_projector(student.embedding), dim=1)
        e = F.normalize(loss.teacher_projector(teacher.embedding), dim=1)
        options |= {"margin": 1.5, "num_negatives": 2, "index": index}
        # The bank's slots, in ring order: entry n lies in slot n modulo its size.
        slots = sorted(range(max(0, len(seen) - 9), len(seen)), key=lambda n: n % 9)
        padded = [seen[n] for n in slots]
        empty = 9 - len(padded)
        raw = torch.stack([row[0] for row in padded] + [torch.zeros(D_T).double()] * empty)
        bank = {
            "bank": F.normalize(loss.teacher_projector(raw).detach(), dim=1),
            "bank_labels": torch.tensor([row[1] for row in padded] + [0] * empty),
            "bank_index": torch.tensor([row[2] for row in padded] + [-1] * empty),
            "bank_valid": torch.tensor([True] * len(padded) + [False] * empty),
        }
        expected = khn(v, e, target, **bank, **options, seed=2 * step, impl="reference")
        if symmetric:
            other = khn(e, v, target, **options, seed=2 * step + 1, impl="reference")
            expected = expected + other
        value = loss(student, teacher, target, index=index)
        assert torch.allclose(value, expected, atol=1e-12)
        assert loss.terms["khn"] == value.detach()
        value.backward()  # the enqueue in between has not changed what the graph kept
        seen.extend(zip(teacher.embedding.detach(), target, index, strict=True))
        with torch.no_grad():  # an optimiser step: keys must not go stale
            for parameter in loss.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))


def test_gradient_reaches_student_and_projectors_and_never_the_teacher():
    loss = loss_of(form="nce")
    loss(*batch(0)[:3])
    student, teacher, target, _ = batch(1)
    loss(student, teacher, target).backward()
    assert student.embedding.grad.abs().sum() > 0
    assert teacher.embedding.grad is None
    for projector in (loss.student_projector, loss.teacher_projector):
        assert all(parameter.grad.abs().sum() > 0 for parameter in projector.parameters())


def test_keys_of_the_bank_send_no_gradient_to_the_projector():
    loss = loss_of(form="nce", symmetric=False)
    first, second = batch(0), batch(1)
    loss(*first[:3])
    loss.zero_grad()
    only = torch.zeros(6, dtype=torch.bool)
    loss(*second[:3], valid=only).backward()
    assert all((parameter.grad == 0).all() for parameter in loss.parameters())


def test_eval_neither_reads_nor_writes_the_bank():
    loss = loss_of()
    student, teacher, target, index = batch(1)
    loss.eval()
    alone = loss(student, teacher, target, index=index)
    loss.train()
    loss(*batch(0)[:3])
    loss.eval()
    before = copy.deepcopy(loss.state_dict())
    assert loss(student, teacher, target, index=index) == alone
    for name, value in loss.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("mining", ["semihard", "random"])
def test_the_state_continues_where_it_stopped(mining):
    loss = loss_of(mining=mining)
    for step in range(3):
        loss(*batch(step)[:3])
    other = loss_of(mining=mining)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    for step in range(3, 6):
        student, teacher, target, index = batch(step)
        assert torch.equal(
            loss(student, teacher, target, index=index),
            other(student, teacher, target, index=index),
        )


def test_rows_without_a_teacher_take_no_part():
    valid = torch.tensor([True, False, True, True, False, True])
    student, teacher, target, index = batch(2)
    loss, other = loss_of(), loss_of()
    expected = other(student.rows(valid), teacher.rows(valid), target[valid], index=index[valid])
    with torch.no_grad():
        teacher.embedding[~valid] = torch.nan
    value = loss(student, teacher, target, valid=valid, index=index)
    value.backward()
    assert torch.allclose(value, expected)
    assert (student.embedding.grad[~valid] == 0).all()
    assert all(parameter.grad.isfinite().all() for parameter in loss.parameters())
    assert torch.equal(loss.bank.keys, other.bank.keys)
    assert loss.bank.filled == 4


@pytest.mark.parametrize("form", ["triplet", "nce"])
@pytest.mark.parametrize("case", ["one row", "one class", "equal", "zeros", "huge", "none valid"])
def test_it_stays_finite(case, form):
    torch.manual_seed(0)
    b = 1 if case == "one row" else 6
    loss = KHN(bank_size=8, form=form, student_dim=4, teacher_dim=4)
    for _ in range(3):
        student, teacher = torch.randn(b, 4), torch.randn(b, 4)
        target = torch.arange(b) % 2
        valid = torch.full((b,), case != "none valid")
        if case == "one class":
            target = torch.zeros_like(target)
        if case == "equal":
            student, teacher = torch.ones(b, 4), torch.ones(b, 4)
        if case == "zeros":
            student, teacher = torch.zeros(b, 4), torch.zeros(b, 4)
        if case == "huge":
            student, teacher = 1e4 * student, 1e4 * teacher
        student.requires_grad_()
        value = loss(Outputs(student), Outputs(teacher), target, valid=valid)
        value.backward()
        assert value.isfinite() and student.grad.isfinite().all()
        if case in ("one class", "none valid"):
            assert value == 0 and (student.grad == 0).all()


def test_labels_are_optional():
    student, teacher, *_ = batch(3)
    unlabelled = torch.full((6,), -1)
    assert loss_of()(student, teacher) == loss_of()(student, teacher, unlabelled) != 0


def test_a_bank_of_none_needs_no_bind():
    loss = KHN(bank_size=0)
    x = torch.randn(4, 3)
    assert loss(Outputs(x), Outputs(torch.randn(4, 3)), torch.arange(4)).isfinite()
    assert [name for name, _ in loss.named_buffers()] == ["draws"]


def test_a_training_teacher_s_keys_pass_through_the_slow_projector():
    loss = loss_of(symmetric=False, form="nce", teacher_momentum=0.5)
    loss.track_teacher()
    slow = copy.deepcopy(loss.teacher_projector)
    first, second = batch(0), batch(1)
    loss(*first[:3])
    assert loss.bank.filled == 0  # forward leaves the writing to the caller
    with torch.no_grad():
        for parameter in loss.teacher_projector.parameters():
            parameter.add_(1.0)
    keys = first[1].map(lambda x: x + 1)  # what an EMA of the encoder said of the batch
    loss.remember(keys, first[2])
    with torch.no_grad():
        for own, now in zip(slow.parameters(), loss.teacher_projector.parameters(), strict=True):
            own.lerp_(now, 0.5)
    v = F.normalize(loss.student_projector(second[0].embedding), dim=1)
    e = F.normalize(loss.teacher_projector(second[1].embedding), dim=1)
    bank = F.normalize(slow(keys.embedding), dim=1)
    expected = khn(v, e, second[2], bank=bank, bank_labels=first[2], form="nce", num_negatives=2)
    assert torch.allclose(loss(*second[:3]), expected)
    assert any(name.startswith("momentum_projector.") for name in loss.state_dict())
    assert not any(
        name.startswith("momentum_projector") and parameter.requires_grad
        for name, parameter in loss.named_parameters()
    )


def test_binding_twice_keeps_the_bank():
    loss = loss_of()
    bank, projector = loss.bank, loss.student_projector
    loss.bind(D_S, D_T, 3)
    assert loss.bank is bank and loss.student_projector is projector
    loss.bind(D_S, D_T + 1)
    assert loss.bank.dim == D_T + 1


def test_attached_projectors_are_used():
    loss = KHN(bank_size=4)
    loss.attach(nn.Linear(5, 3), nn.Linear(6, 3))
    loss.bind(5, 6)
    assert isinstance(loss.student_projector, nn.Linear)
    assert loss(Outputs(torch.randn(4, 5)), Outputs(torch.randn(4, 6))).isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mining": "easy"}, "unknown mining"),
        ({"num_negatives": 0}, "num_negatives must be a whole number of at least 1"),
        ({"bank_size": -1}, "bank_size must be a whole number of at least 0, got -1"),
        ({"student_dim": 4}, "give both"),
    ],
)
def test_wrong_options_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        KHN(**options)


def test_an_unbound_loss_says_so():
    x = Outputs(torch.randn(4, 3))
    with pytest.raises(ValueError, match="has no memory bank yet: call bind"):
        KHN()(x, x)
