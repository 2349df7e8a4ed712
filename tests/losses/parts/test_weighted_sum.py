"""Sums of losses, and what the base class does before a loss sees its arguments."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.losses.batches import CLASSES, random_batch, step
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.infonce import InfoNCE
from xdistill.losses.jsd import JSD
from xdistill.losses.kd import KD
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.weighted_sum import WeightedSum
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


def call(loss, batch):
    return loss(batch.student, batch.teacher, batch.target, valid=batch.valid, index=batch.index)


def test_a_sum_adds_weighted_terms():
    batch = random_batch()
    loss = 2 * (CrossEntropy() + 0.5 * KD()) + JSD()
    assert isinstance(loss, WeightedSum)
    assert loss.weights == [2.0, 1.0, 1.0]
    parts = [call(one, batch) for one in (CrossEntropy(), KD(), JSD())]
    torch.testing.assert_close(call(loss, batch), 2 * parts[0] + parts[1] + parts[2])
    assert list(loss.terms) == ["cross_entropy", "kd", "jsd"]
    torch.testing.assert_close(loss.terms["kd"], parts[1].detach())
    assert "weights=[2.0, 1.0, 1.0]" in repr(loss)


def test_sum_of_a_list():
    loss = sum([CrossEntropy(), KD(), JSD()])
    assert [type(leaf) for leaf in loss.leaves()] == [CrossEntropy, KD, JSD]


def test_equal_names_are_numbered():
    loss = KD(temperature=1.0) + KD(temperature=2.0) + KD(temperature=4.0)
    batch = random_batch()
    call(loss, batch)
    assert list(loss.terms) == ["kd", "kd_2", "kd_3"]
    torch.testing.assert_close(loss.terms["kd_3"], call(KD(4.0), batch))


def test_parts_of_a_term_follow_its_name():
    loss = KD() + 0.5 * _ccl() + _ccl()
    call(loss, random_batch())
    parts = ["", "/classification", "/contrast", "/divergence"]
    assert set(loss.terms) == {
        "kd",
        *(f"ccl{part}" for part in parts),
        *(f"ccl_2{part}" for part in parts),
    }


def _ccl():
    from xdistill.losses.ccl import CCL

    return CCL(dim=8, num_classes=CLASSES)


@pytest.mark.parametrize("weight", [True, "2", None])
def test_a_weight_is_a_number(weight):
    with pytest.raises(TypeError):
        KD() * weight


def test_only_losses_add_up():
    with pytest.raises(TypeError):
        KD() + 1.0
    with pytest.raises(TypeError):
        1.0 + KD()


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


@pytest.mark.parametrize("argument", ["teacher", "target", "valid", "index"])
def test_numbers_of_rows_must_agree(argument):
    batch = random_batch().change(valid=torch.ones(6, dtype=torch.bool))
    longer = getattr(batch, argument)
    short = longer.rows(torch.arange(5)) if isinstance(longer, Outputs) else longer[:5]
    with pytest.raises(ValueError, match=f"6 rows but {argument} has 5"):
        call(KD() + JSD(), batch.change(**{argument: short}))


@pytest.mark.parametrize("wrong", [-2, 3])
def test_a_target_is_a_class_or_minus_one(wrong):
    batch = random_batch().change(target=torch.tensor([0, 1, 2, wrong, -1, 0]))
    with pytest.raises(ValueError, match=f"target holds {wrong}.*0 to 2"):
        call(CrossEntropy(), batch)


def test_a_target_is_int64():
    with pytest.raises(TypeError, match="int64"):
        call(KD(), random_batch().change(target=torch.zeros(6, dtype=torch.int32)))


def test_logits_are_asked_for():
    batch = random_batch()
    bare = batch.change(teacher=Outputs(batch.teacher.embedding))
    with pytest.raises(ValueError, match="kd compares class logits"):
        call(KD(), bare)
    wide = batch.change(teacher=Outputs(batch.teacher.embedding, torch.zeros(6, 4)))
    with pytest.raises(ValueError, match=r"\[3, 4\]"):
        call(KD(), wide)


def test_a_sum_keeps_the_parameters_of_its_terms():
    loss = 0.5 * InfoNCE(learnable=True) + KD()
    assert [name for name, _ in loss.named_parameters()] == ["losses.0.log_scale"]
    assert step(loss, random_batch()).parameters["losses.0.log_scale"].any()
