"""An optimiser that lacks a loss's parameters is noticed, in any loop."""

import warnings

import pytest
import torch

from tests.toy import toy_data, toy_encoders
from xdistill.data.collate import collate
from xdistill.distiller import Distiller
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.parts.loss import Loss
from xdistill.losses.sacd import SACD


def batch():
    data = toy_data(12)
    return collate([data[row] for row in range(12)])


def loop(distiller: Distiller, optimizer: torch.optim.Optimizer, steps: int = 3, clear=None):
    for _ in range(steps):
        (clear or optimizer.zero_grad)()
        distiller(batch()).loss.backward()
        optimizer.step()


def parts():
    student, teacher = toy_encoders()
    return student, teacher, CrossEntropy() + SACD(dim=4, bank_size=32)


@pytest.mark.parametrize("clears", ["optimiser", "distiller"])
def test_an_optimiser_without_the_projectors_is_told_of(clears):
    student, teacher, loss = parts()
    optimizer = torch.optim.SGD([*student.parameters(), *loss.parameters()], lr=0.1)
    distiller = Distiller(student, teacher, loss)
    clear = distiller.zero_grad if clears == "distiller" else None
    with pytest.warns(UserWarning, match=r"not \d+ parameters of its losses .*_projector") as told:
        loop(distiller, optimizer, clear=clear)
    assert len(told) == 1


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Adagrad])
@pytest.mark.parametrize("foreach", [False, True])
def test_an_optimiser_of_the_distiller_is_quiet(make, foreach):
    student, teacher, loss = parts()
    assert list(loss.parameters()) == []  # looking at them before is no fault
    distiller = Distiller(student, teacher, loss)
    loop(distiller, make(distiller.parameters(), lr=0.1, foreach=foreach))
    projector = dict(loss.named_parameters())
    assert projector and all(p._version > 0 for p in projector.values() if p.grad is not None)


def test_accumulated_gradients_are_no_fault():
    student, teacher, loss = parts()
    distiller = Distiller(student, teacher, loss)
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.1)
    for step in range(6):
        distiller(batch()).loss.backward()
        if step % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()


def test_a_loop_without_a_distiller_is_told_of_parameters_that_bind_made_later():
    student, teacher, loss = parts()
    parameters = [*student.parameters(), *loss.parameters()]
    loss.bind(student, teacher, num_classes=3)
    one = batch()
    outputs = student(one.inputs["cheap"]), teacher(one.inputs["rich"])
    with pytest.warns(UserWarning, match="parameters, but had 0 when loss.parameters"):
        loss(*outputs, one.target)
    assert not {id(p) for p in loss.parameters()} & {id(p) for p in parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(*outputs, one.target)  # read again, after bind


class PerRow(Loss):
    name = "per_row"
    shared_space = False

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return (student.embedding - teacher.embedding).pow(2)


def test_a_loss_that_is_no_scalar_is_refused():
    student, teacher = toy_encoders()
    message = r"per_row returned \[12, 8\], expected a scalar"
    for loss in (PerRow(), CrossEntropy() + 0.5 * PerRow()):
        with pytest.raises(ValueError, match=message):
            Distiller(student, teacher, loss)(batch())
