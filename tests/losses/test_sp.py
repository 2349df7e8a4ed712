from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize
from torchdistill.losses import mid_level

from tests.losses.loops import MASKS, close, dot, gradcheck, kept, norm, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.sp import sp


def twin(student, teacher, valid):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    total = 0.0
    for i in range(len(student)):
        ours = [dot(student[i], other) for other in student]
        theirs = [dot(teacher[i], other) for other in teacher]
        total += sum(
            (a / norm(ours) - b / norm(theirs)) ** 2 for a, b in zip(ours, theirs, strict=True)
        )
    return total / len(student) ** 2


def test_closed_form():
    # Rows of the teacher's Gram matrix are unit vectors, those of the student's (1, 1)/sqrt 2.
    student, teacher = torch.ones(2, 3), torch.eye(2)
    exact = 2 * ((1 - math.sqrt(0.5)) ** 2 + 0.5) / 4
    torch.testing.assert_close(sp(student, teacher), torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    student, teacher = rows64(6, 5), rows64(6, 3, seed=1)
    close(sp(student, teacher, optional(valid)), twin(student, teacher, valid))


def test_invariant_to_rotation_and_scale():
    student, teacher = rows64(6, 5), rows64(6, 4, seed=1)
    turn = torch.linalg.qr(rows64(5, 5, seed=2)).Q
    close(sp(3 * student @ turn, teacher), sp(student, teacher).item())
    close(sp(3 * teacher, teacher), 0.0)


def test_gradcheck():
    valid = torch.tensor([True, False, True, True])
    gradcheck(lambda s, t: sp(s, t, valid), rows64(4, 3), rows64(4, 2, seed=1))


def test_parity_with_torchdistill(monkeypatch):
    """With rows of length one, which the paper's eq. 3 asks for.

    Theirs divides by the sum of absolute values: `normalize(x, 1)` reads as axis 1, but is p = 1.
    """
    student, teacher = rows64(6, 5), rows64(6, 3, seed=1)
    loss = mid_level.SPKDLoss("s", "t", "batchmean")

    def theirs(s, t):
        return loss({"s": {"output": s}}, {"t": {"output": t}})

    assert not torch.isclose(theirs(student, teacher), sp(student, teacher), rtol=0.1)
    monkeypatch.setattr(mid_level, "normalize", lambda x, axis: normalize(x, dim=axis))
    agree(sp, theirs, student, teacher)
