from __future__ import annotations

import math

import pytest
import torch
from torchdistill.losses.mid_level import PKTLoss

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, cosine, gradcheck, kept, mean, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.pkt import PKT, pkt, pkt_official


def probabilities(rows, i, eps, itself):
    kernel = [(cosine(rows[i], other) + 1) / 2 + eps for other in rows]
    return [
        k / sum(k for j, k in enumerate(kernel) if itself or j != i) if itself or j != i else 0.0
        for j, k in enumerate(kernel)
    ]


def twin(student, teacher, valid):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    values = []
    for i in range(len(student)):
        p, q = (probabilities(rows, i, 1e-7, itself=False) for rows in (teacher, student))
        values.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a))
    return mean(values)


def official_twin(student, teacher, valid):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    values = []
    for i in range(len(student)):
        p, q = (probabilities(rows, i, 0.0, itself=True) for rows in (teacher, student))
        values += [a * math.log((a + 1e-7) / (b + 1e-7)) for a, b in zip(p, q, strict=True)]
    return mean(values)


def test_closed_form():
    # For the teacher, rows at cosines 1, 0 and 0: kernels 1, 1/2, 1/2. For the student all are
    # orthogonal: every neighbour has probability 1/2.
    teacher = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    student = torch.eye(3)
    # Rows 0 and 1 have p = (2/3, 1/3), row 2 has (1/2, 1/2), where nothing diverges.
    one = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    torch.testing.assert_close(pkt(student, teacher), torch.tensor(2 * one / 3))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    student, teacher = rows64(6, 5), rows64(6, 3, seed=1)
    close(pkt(student, teacher, optional(valid)), twin(student, teacher, valid))
    close(pkt_official(student, teacher, optional(valid)), official_twin(student, teacher, valid))


@pytest.mark.parametrize("function", [pkt, pkt_official])
def test_gradcheck(function):
    valid = torch.tensor([True, False, True, True])
    gradcheck(lambda s, t: function(s, t, valid), rows64(4, 3), rows64(4, 2, seed=1))


def test_invariant_to_rotation_and_length_of_rows():
    teacher = rows64(6, 4)
    turn = torch.linalg.qr(rows64(4, 4, seed=2)).Q
    student = rows64(6, 1, seed=3).abs() * (teacher @ turn)
    close(pkt(student, teacher), 0.0)
    close(pkt_official(student, teacher), 0.0)


def test_two_rows_have_one_neighbour_each():
    close(pkt(rows64(2, 4), rows64(2, 3, seed=1)), 0.0)
    assert pkt_official(rows64(2, 4), rows64(2, 3, seed=1)) > 0


def test_opposite_rows_of_the_student_where_the_teachers_are_equal():
    student = torch.tensor([[1.0], [1.0], [-1.0]], requires_grad=True)
    value = pkt(student, torch.ones(3, 2))
    value.backward()
    # A neighbour of probability 1/2 has one near 1e-7 for the student: about ½·log(½/1e-7) each.
    assert 3 < value.detach() < 9
    assert torch.isfinite(student.grad).all()


def test_asymmetric():
    """The direction is KL(teacher ‖ student)."""
    student, teacher = rows64(6, 5), rows64(6, 3, seed=1)
    assert not torch.isclose(pkt(student, teacher), pkt(teacher, student))


def test_official_is_an_option_and_weights_belong_to_the_forms():
    batch = random_batch()
    s, t = batch.student.embedding, batch.teacher.embedding
    torch.testing.assert_close(PKT()(batch.student, batch.teacher), pkt(s, t))
    value = PKT(official=True)(batch.student, batch.teacher)
    torch.testing.assert_close(value, pkt_official(s, t))
    # At 64 rows both weights make terms of one size; the own pair makes the small difference.
    s, t = rows64(64, 16), rows64(64, 16, seed=1)
    ratio = 30000 * pkt_official(s, t) / (PKT.recommended_weight * pkt(s, t))
    assert 0.9 < ratio < 1.1


def test_parity_with_torchdistill():
    theirs = PKTLoss("s", "output", "t", "output")
    agree(pkt_official, theirs.cosine_similarity_loss, rows64(7, 5), rows64(7, 3, seed=1))
