"""What the base class does before a loss sees its arguments."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.losses.batches import call, random_batch
from xdistill.losses.infonce import InfoNCE
from xdistill.losses.parts.loss import Loss
from xdistill.types import Outputs, Spec


class Probe(Loss):
    """The mean of a student's and a teacher's embedding; keeps what it was given."""

    name = "probe"
    shared_space = False

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        self.seen = (student, teacher)
        return student.embedding.mean() + teacher.embedding.mean()


class MutualProbe(Probe):
    mutual = True


class SharedProbe(Probe):
    shared_space = True


def test_the_teacher_is_detached_unless_mutual():
    batch = random_batch()
    weight = torch.ones(8, requires_grad=True)
    teacher = Outputs(batch.teacher.embedding * weight, batch.teacher.logits)
    Probe()(batch.student, teacher)
    loss = Probe() + MutualProbe()
    assert loss.mutual
    loss(batch.student, teacher).backward()
    once = torch.autograd.grad(teacher.embedding.detach().mul(weight).mean(), weight)[0]
    torch.testing.assert_close(weight.grad, once)  # the mutual term alone


def test_half_precision_is_lifted_and_float64_kept():
    loss = Probe()
    batch = random_batch()
    loss(batch.student.map(torch.Tensor.half), batch.teacher.map(torch.Tensor.bfloat16))
    assert {one.embedding.dtype for one in loss.seen} == {torch.float32}
    loss(batch.student.map(torch.Tensor.double), batch.teacher.map(torch.Tensor.double))
    assert {one.embedding.dtype for one in loss.seen} == {torch.float64}


def test_forward_runs_outside_autocast():
    class Product(Probe):
        def forward(self, student, teacher, target=None, *, valid=None, index=None):
            product = student.embedding @ teacher.embedding.T
            assert product.dtype == torch.float32
            return product.mean()

    batch = random_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert call(Product(), batch).dtype == torch.float32


def test_rows_without_teacher_arrive_as_zeros():
    batch = random_batch()
    valid = torch.tensor([True, False, True, True, True, True])
    teacher = batch.teacher.map(
        lambda t: torch.where(valid.view(-1, *[1] * (t.ndim - 1)), t, torch.full_like(t, 1e30))
    )
    loss = Probe()
    loss(batch.student, teacher, valid=valid)
    assert not loss.seen[1].embedding[1].any()
    assert not loss.seen[1].logits[1].any()
    torch.testing.assert_close(loss.seen[1].embedding[valid], teacher.embedding[valid])


def test_projectors_get_gradient_and_the_teacher_none():
    loss = SharedProbe().bind(8, 5)
    batch = random_batch(teacher_dim=5)
    teacher = batch.teacher.map(lambda tensor: tensor.requires_grad_())
    loss(batch.student, teacher).backward()
    assert loss.seen[0].embedding.shape == loss.seen[1].embedding.shape == (6, 5)
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert teacher.embedding.grad is None


def test_bind_makes_projectors_only_where_they_are_needed():
    assert SharedProbe().bind(8, 8).student_projector is None
    assert Probe().bind(8, 5).student_projector is None
    loss = SharedProbe()
    loss.dim = 4
    loss.bind(Spec(8), Spec(8))
    assert loss.shared_width(8) == 4
    attached = SharedProbe()
    attached.attach(nn.Linear(8, 3), nn.Linear(5, 3))
    projector = attached.student_projector
    attached.bind(8, 5)
    assert attached.student_projector is projector


def test_shared_width_leaves_the_projector_alone():
    loss = SharedProbe()
    assert loss.shared_width(8) == 8
    projector = nn.Sequential(nn.Linear(8, 3), nn.BatchNorm1d(3))
    loss.attach(projector, nn.Linear(5, 3))
    assert loss.shared_width(8) == 3
    assert projector.training
    assert projector[1].num_batches_tracked == 0


def test_unequal_widths_without_projectors():
    batch = random_batch(teacher_dim=5)
    with pytest.raises(ValueError, match=r"8 \(student\) and 5 \(teacher\).*bind"):
        call(InfoNCE(), batch)
    loss = InfoNCE()
    loss.attach(nn.Linear(8, 4), nn.Linear(5, 3))
    with pytest.raises(ValueError, match=r"4 .* and 3"):
        call(loss, batch)
