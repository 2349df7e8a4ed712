"""Losses that keep a memory of the teacher's outputs, as a plugin would write one."""

from __future__ import annotations

import copy

import pytest
import torch

import xdistill as xd
from tests.toy import toy_data, toy_encoders

ROWS = 12


class Centre(xd.Loss):
    """Mean squared distance of the student's rows to the mean of the remembered teacher rows."""

    name = "centre"
    shared_space = False
    keeps_memory = True

    def __init__(self, momentum: float = 0.5):
        super().__init__()
        self.teacher_momentum = momentum
        self.bank: xd.MemoryBank | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        self.bank = xd.MemoryBank(64, teacher.dim)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        centre = self.bank.keys.sum(dim=0) / self.bank.filled.clamp(min=1)
        return (student.embedding - centre).square().mean()

    def remember(self, teacher, target=None, *, valid=None, index=None):
        self.bank.enqueue(teacher.embedding, target, index, valid)

    def remembered(self) -> torch.Tensor:
        return self.bank.keys[: int(self.bank.filled)]


def batch(seed: int = 0) -> xd.PairedBatch:
    data = toy_data(ROWS, seed=seed)
    return xd.collate([data[row] for row in range(ROWS)])


def train(distiller: xd.Distiller, steps: int) -> list[dict[str, torch.Tensor]]:
    """Some steps; the teacher's state at the beginning and before the step of each batch."""
    distiller.train()
    torch.manual_seed(0)  # of the dropout
    (teacher,) = distiller.teachers.children()
    states = [copy.deepcopy(teacher.state_dict())]
    trained = [parameter for parameter in distiller.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        distiller(batch(step)).loss.backward()
        states.append(copy.deepcopy(teacher.state_dict()))
        optimizer.step()
    return states


def average(states: list[dict[str, torch.Tensor]], momentum: float) -> dict[str, torch.Tensor]:
    """The exponential moving average of the states, written out."""
    slow = dict(states[0])
    for state in states[1:]:
        for name, now in state.items():
            slow[name] = (
                momentum * slow[name] + (1 - momentum) * now if now.is_floating_point() else now
            )
    return slow


def embeddings_of_averages(states, momentum: float) -> torch.Tensor:
    """What the slow copy said of every batch at its time."""
    _, teacher = toy_encoders()
    teacher.eval()
    said = []
    for step in range(len(states) - 1):
        teacher.load_state_dict(average(states[: step + 2], momentum))
        with torch.no_grad():
            said.append(teacher(batch(step).inputs["rich"]).embedding)
    return torch.cat(said)


def test_a_frozen_teacher_is_remembered_as_it_is():
    loss = Centre()
    student, teacher = toy_encoders()
    distiller = xd.Distiller(student, teacher, xd.CrossEntropy() + loss)
    states = train(distiller, 2)
    assert not distiller.slow_teachers and not loss.teacher_trains
    torch.testing.assert_close(loss.remembered(), embeddings_of_averages(states, 0.0))
    step = distiller(batch(2))
    centre = loss.remembered()[: 2 * ROWS].mean(dim=0)
    expected = (step.student.embedding - centre).square().mean()
    torch.testing.assert_close(step.terms["centre"], expected.detach())


def test_in_a_loop_of_ones_own_the_loss_fills_its_memory():
    student, teacher = toy_encoders()
    loss = (xd.CrossEntropy() + 0.5 * Centre()).bind(student, teacher)
    x = batch().inputs
    loss(student(x["cheap"]), teacher.eval()(x["rich"]), batch().target)
    _, keeper = loss.leaves()
    torch.testing.assert_close(keeper.remembered(), teacher(x["rich"]).embedding.detach())
    loss.eval()(student(x["cheap"]), teacher(x["rich"]), batch().target)
    assert len(keeper.remembered()) == ROWS


def test_a_training_teacher_is_remembered_through_its_moving_average():
    loss = Centre(momentum=0.8)
    distiller = xd.Distiller(*toy_encoders(), loss, train_teacher=True)
    states = train(distiller, 3)
    assert loss.teacher_trains
    torch.testing.assert_close(loss.remembered(), embeddings_of_averages(states, 0.8))


def test_every_momentum_has_a_slow_copy_of_its_own():
    slow, quick, also_quick = Centre(0.9), Centre(0.25), Centre(0.25)
    loss = xd.CrossEntropy() + xd.warmup(slow, epochs=2) + 0.5 * quick + 0.1 * also_quick
    loss.set_progress(1, 10)
    distiller = xd.Distiller(*toy_encoders(), loss, train_teacher=True)
    states = train(distiller, 3)
    assert sorted(one.momentum for one in distiller.slow_teachers["rich"]) == [0.25, 0.9]
    torch.testing.assert_close(slow.remembered(), embeddings_of_averages(states, 0.9))
    torch.testing.assert_close(quick.remembered(), embeddings_of_averages(states, 0.25))
    assert torch.equal(also_quick.remembered(), quick.remembered())
    assert not torch.allclose(slow.remembered(), quick.remembered())


def test_a_row_without_the_teacher_does_not_get_into_a_memory():
    for trains in (False, True):
        loss = Centre()
        distiller = xd.Distiller(*toy_encoders(), loss, train_teacher=trains).train()
        valid = torch.arange(ROWS) % 3 > 0
        one = batch()
        distiller(xd.PairedBatch(one.inputs, one.target, {"rich": valid}, index=torch.arange(ROWS)))
        assert loss.bank.indices[:8].tolist() == valid.nonzero().flatten().tolist()
        assert len(loss.remembered()) == 8


def test_memories_and_slow_copies_continue_from_a_state_dict():
    def make() -> xd.Distiller:
        return xd.Distiller(*toy_encoders(), Centre(0.9) + Centre(0.5), train_teacher=True)

    straight, resumed = make(), make()
    train(straight, 2)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    for distiller in (straight, resumed):
        train(distiller, 2)
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), rtol=0, atol=0)


def test_a_teacher_that_is_frozen_later_is_still_remembered():
    loss = Centre()
    student, teacher = toy_encoders()
    distiller = xd.Distiller(student, teacher, loss, train_teacher=True).train()
    teacher.requires_grad_(False)
    distiller(batch())
    assert len(loss.remembered()) == ROWS


def test_a_loss_without_a_memory_makes_no_slow_copy():
    loss = xd.CrossEntropy() + xd.KHN(bank_size=0, dim=4)
    distiller = xd.Distiller(*toy_encoders(), loss, train_teacher=True)
    assert not distiller.slow_teachers


def test_a_memory_that_nothing_fills_is_an_error():
    class Forgetful(Centre):
        remember = xd.Loss.remember

    distiller = xd.Distiller(*toy_encoders(), Forgetful())
    with pytest.raises(NotImplementedError, match=r"centre says keeps_memory.*override remember"):
        distiller.train()(batch())


def test_a_memory_that_leaves_does_not_yield_is_refused_where_the_teacher_trains():
    class Wrapper(xd.Loss):
        name = "wrapper"
        shared_space = False

        def __init__(self):
            super().__init__()
            self.inner = Centre()

        def bind(self, student, teacher, num_classes=None, num_samples=None):
            self.inner.bind(student, teacher)
            return self

        def forward(self, student, teacher, target=None, *, valid=None, index=None):
            return 2 * self.inner(student, teacher, target, valid=valid, index=index)

    xd.Distiller(*toy_encoders(), Wrapper())(batch())  # a frozen one is remembered in the call
    with pytest.raises(ValueError, match=r"wrapper holds centre, which keeps .* from leaves\(\)"):
        xd.Distiller(*toy_encoders(), xd.CrossEntropy() + Wrapper(), train_teacher=True)
