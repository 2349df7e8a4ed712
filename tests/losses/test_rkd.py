from __future__ import annotations

import math

import jaxtyping
import pytest
import torch
from torchdistill.losses.mid_level import RKDLoss

from tests.losses.batches import random_batch
from tests.losses.largest_tensor import LargestTensor
from tests.losses.loops import (
    MASKS,
    close,
    dot,
    gradcheck,
    huber,
    kept,
    mean,
    norm,
    optional,
    rows64,
)
from tests.losses.parity import agree
from xdistill.losses import rkd as module
from xdistill.losses.rkd import RKD, rkd_angle, rkd_distance


def gap(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def distance_twin(student, teacher, valid):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    pairs = [(i, j) for i in range(len(student)) for j in range(len(student)) if i != j]
    ours = [norm(gap(student[i], student[j])) for i, j in pairs]
    theirs = [norm(gap(teacher[i], teacher[j])) for i, j in pairs]
    return mean(
        [huber(a / mean(ours) - b / mean(theirs)) for a, b in zip(ours, theirs, strict=True)]
    )


def cosine_at(x, i, j, k):
    a, b = gap(x[i], x[j]), gap(x[k], x[j])
    return dot(a, b) / (norm(a) * norm(b)) if norm(a) * norm(b) else 0.0


def angle_twin(student, teacher, valid):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    rows = range(len(student))
    triples = [(i, j, k) for i in rows for j in rows for k in rows if len({i, j, k}) == 3]
    return mean([huber(cosine_at(student, *t) - cosine_at(teacher, *t)) for t in triples])


def test_closed_form():
    # Three points on a line at 0, 1, 3 against three at equal distance.
    student = torch.tensor([[0.0], [1.0], [3.0]])
    teacher = torch.eye(3)
    exact = (huber(0.5 - 1) + huber(1 - 1) + huber(1.5 - 1)) / 3
    torch.testing.assert_close(rkd_distance(student, teacher), torch.tensor(exact))
    # Angles of the line have cosines 1, −1, 1; those of the triangle one half.
    exact = (2 * huber(0.5) + huber(1.5)) / 3
    torch.testing.assert_close(rkd_angle(student, teacher), torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    student, teacher = rows64(6, 5), rows64(6, 3, seed=1)
    close(rkd_distance(student, teacher, optional(valid)), distance_twin(student, teacher, valid))
    close(rkd_angle(student, teacher, optional(valid)), angle_twin(student, teacher, valid))


def test_rows_that_coincide_for_one_model_only():
    student, teacher = rows64(6, 5), rows64(6, 3, seed=1)
    student[4] = student[1]
    close(rkd_distance(student, teacher), distance_twin(student, teacher, None))
    close(rkd_angle(student, teacher), angle_twin(student, teacher, None))


def test_gradcheck():
    valid = torch.tensor([True, False, True, True, True])
    for function in (rkd_distance, rkd_angle):
        gradcheck(lambda s, t, f=function: f(s, t, valid), rows64(5, 3), rows64(5, 2, seed=1))


def test_invariant_to_motion_and_scale():
    teacher = rows64(6, 4)
    turn = torch.linalg.qr(rows64(4, 4, seed=2)).Q
    student = 5 * teacher @ turn + 3
    close(rkd_distance(student, teacher) + rkd_angle(student, teacher), 0.0)


def test_equal_rows_leave_no_noise():
    """Distances are taken by differences: rows that are equal are at distance 0 exactly."""
    student = (1000 + torch.arange(3.0) / 7).expand(5, 3).clone().requires_grad_()
    teacher = torch.ones(5, 2)
    value = rkd_distance(student, teacher) + rkd_angle(student, teacher)
    value.backward()
    assert value == 0
    assert not student.grad.any()


def test_chunks_of_vertices_change_nothing(monkeypatch):
    student, teacher = rows64(9, 4).requires_grad_(), rows64(9, 3, seed=1)
    valid = torch.arange(9) != 4
    whole = rkd_angle(student, teacher, valid)
    (exact,) = torch.autograd.grad(whole, student)
    monkeypatch.setattr(module, "rows_at_once", lambda rows, numbers: 4)
    chunked = rkd_angle(student, teacher, valid)
    (gradient,) = torch.autograd.grad(chunked, student)
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(gradient, exact)


@pytest.mark.parametrize("rows", [64, 300])
def test_no_tensor_grows_with_triples_or_with_pairs_times_width(rows):
    student, teacher = torch.randn(rows, 128, requires_grad=True), torch.randn(rows, 128)
    with LargestTensor() as largest:
        (rkd_distance(student, teacher) + rkd_angle(student, teacher)).backward()
    assert rows * rows <= largest.numbers < rows * rows * 128, largest.operation
    assert largest.numbers < rows**3


def test_compiles_with_chunks(monkeypatch):
    # Checks of shapes, which only tests switch on, write to a list: not allowed in a checkpoint.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    student, teacher = rows64(40, 4), rows64(40, 3, seed=1)
    torch.compiler.reset()
    run = torch.compile(rkd_angle, fullgraph=True, backend="eager")
    torch.testing.assert_close(run(student, teacher), rkd_angle(student, teacher))


def test_parity_with_torchdistill():
    """Theirs is the mean over all B² pairs and B³ triples; what is no pair or triple is 0.

    Where rows i and k are one, cosines of both models are 1 and their gap is 0.
    """
    rows = 7
    theirs = RKDLoss("s", "t", 1.0, 1.0, "mean")
    pairs, triples = (rows - 1) / rows, (rows - 1) * (rows - 2) / rows**2
    inputs = rows64(rows, 5), rows64(rows, 3, seed=1)
    agree(
        lambda s, t: pairs * rkd_distance(s, t.detach()),
        lambda s, t: theirs.compute_rkd_distance_loss(t, s),
        *inputs,
    )
    agree(
        lambda s, t: triples * rkd_angle(s, t.detach()),
        lambda s, t: theirs.compute_rkd_angle_loss(t, s),
        *inputs,
    )


def test_weights():
    batch = random_batch()
    s, t = batch.student.embedding, batch.teacher.embedding
    parts = rkd_distance(s, t), rkd_angle(s, t)
    assert not math.isclose(parts[0], parts[1])
    for weights in ((25.0, 50.0), (1.0, 0.0), (0.0, 2.0)):
        value = RKD(*weights)(batch.student, batch.teacher)
        torch.testing.assert_close(value, weights[0] * parts[0] + weights[1] * parts[1])
    torch.testing.assert_close(RKD()(batch.student, batch.teacher), 25 * parts[0] + 50 * parts[1])
