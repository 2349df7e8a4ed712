from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.parity import agree
from xdistill.losses.dml import DML, dml
from xdistill.losses.jeffreys import jeffreys
from xdistill.losses.kd import kd


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def twin(student, teacher, valid):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    pairs = [(softmax(s), softmax(t)) for s, t in zip(student, teacher, strict=True)]
    return mean([kl(t, s) + kl(s, t) for s, t in pairs])


def test_closed_form():
    # ¾ ¼ against ½ ½: ¾ log 3/2 + ¼ log ½, and back ½ log 2/3 + ½ log 2; together ¼ log 3.
    teacher = torch.tensor([[math.log(3.0), 0.0]])
    torch.testing.assert_close(dml(torch.zeros(1, 2), teacher), torch.tensor(math.log(3.0) / 4))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    student, teacher = rows64(6, 4), 3 * rows64(6, 4, seed=1)
    close(dml(student, teacher, optional(valid)), twin(student, teacher, valid))


def test_gradcheck_of_each_side_with_the_other_fixed():
    """The whole is no function whose derivative is its gradient; each network's own part is."""
    student, teacher = rows64(4, 3).requires_grad_(), rows64(4, 3, seed=1).requires_grad_()
    valid = torch.tensor([True, False, True, True])
    ours, theirs = torch.autograd.grad(dml(student, teacher, valid), (student, teacher))
    s, t = student.detach(), teacher.detach()
    gradcheck(lambda z: kd(z, t, valid, 1.0), s)
    gradcheck(lambda z: kd(z, s, valid, 1.0), t)
    to_student = torch.autograd.grad(kd(student, t, valid, 1.0), student)[0]
    to_teacher = torch.autograd.grad(kd(teacher, s, valid, 1.0), teacher)[0]
    torch.testing.assert_close((ours, theirs), (to_student, to_teacher))


def test_gradients_are_opposite_and_leave_missing_rows_alone():
    """p_s − p_t moves the student, p_t − p_s the teacher."""
    batch = random_batch().change(valid=torch.tensor([True, False, True, True, True, True]))
    student, teacher = (
        one.map(lambda tensor: tensor.clone().requires_grad_())
        for one in (batch.student, batch.teacher)
    )
    DML()(student, teacher, valid=batch.valid).backward()
    gap = (batch.student.logits.softmax(1) - batch.teacher.logits.softmax(1)) / 5
    gap[1] = 0
    torch.testing.assert_close(student.logits.grad, gap)
    torch.testing.assert_close(teacher.logits.grad, -gap)


def test_parity_with_kl_div():
    """Against torch's own divergence, in both directions and for both gradients."""

    def published(s, t):
        forth = F.kl_div(F.log_softmax(s, 1), F.softmax(t, 1).detach(), reduction="batchmean")
        back = F.kl_div(F.log_softmax(t, 1), F.softmax(s, 1).detach(), reduction="batchmean")
        return forth + back

    agree(dml, published, 2 * rows64(7, 5), 3 * rows64(7, 5, seed=1))


def test_value_is_that_of_jeffreys_and_symmetric():
    student, teacher = rows64(5, 3), rows64(5, 3, seed=1)
    close(dml(student, teacher), jeffreys(student, teacher).item())
    close(dml(student, teacher), dml(teacher, student).item())
    close(dml(student + 7, student), 0.0)


def test_options():
    batch = random_batch()
    s, t = batch.student.logits, batch.teacher.logits
    assert DML.mutual
    torch.testing.assert_close(DML()(batch.student, batch.teacher), dml(s, t))
    torch.testing.assert_close(DML(3.0)(batch.student, batch.teacher), 9 * dml(s / 3, t / 3))
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got -1"):
        DML(-1)
