from __future__ import annotations

import math

import pytest
import torch
from open_clip.loss import DistillClipLoss
from torch.nn.functional import normalize

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.largest_tensor import LargestTensor
from tests.losses.loops import (
    MASKS,
    close,
    cosine,
    gradcheck,
    kept,
    mean,
    optional,
    rows64,
    softmax,
)
from tests.losses.parity import agree
from xdistill.kernels import dispatch
from xdistill.losses.clip_distill import CLIPDistill, clip_cross, clip_self

CROSS = {"form": "cross"}


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def near(a, b, i, temperature, own):
    return softmax([cosine(a[i], b[j]) / temperature for j in range(len(b)) if own or j != i])


def self_twin(s, t, valid, temperature, teacher_temperature):
    s, t = kept(valid, s.tolist(), t.tolist())
    rows = range(len(s))
    return mean(
        [kl(near(t, t, i, teacher_temperature, 0), near(s, s, i, temperature, 0)) for i in rows]
    )


def cross_twin(s, t, r, valid, temperature, teacher_temperature):
    s, t, r = kept(valid, s.tolist(), t.tolist(), r.tolist())
    values = []
    for i in range(len(s)):
        goal = near(r, r, i, teacher_temperature, 1)
        values += [kl(goal, near(s, t, i, temperature, 1)), kl(goal, near(t, s, i, temperature, 1))]
    return mean(values)


def entropy(scores):
    return -(scores.softmax(1) * scores.log_softmax(1)).sum(1).mean()


def test_closed_form_self():
    # Row 0 of the teacher is at cosine 1 from row 1 and 0 from row 2, T = 1: e : 1. The
    # student's rows are all orthogonal: ½ : ½. Row 1 is alike; row 2 is as far from both: 0.
    teacher = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    p = math.e / (1 + math.e)
    exact = 2 / 3 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    torch.testing.assert_close(
        clip_self(torch.eye(3), teacher, temperature=1.0), torch.tensor(exact)
    )


def test_closed_form_cross():
    # Orthogonal teacher rows, T = 1: e : 1 for the own pair. All student rows lie between the
    # two: ½ : ½ from student to teacher, and from teacher to student too.
    student, teacher = torch.ones(2, 2), torch.eye(2)
    p = math.e / (1 + math.e)
    exact = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    torch.testing.assert_close(
        clip_cross(student, teacher, teacher, temperature=1.0), torch.tensor(exact)
    )


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    s, t, r = rows64(6, 5), rows64(6, 5, seed=1), rows64(6, 3, seed=2)
    mask = optional(valid)
    close(clip_self(s, r, mask, 0.2, 0.3), self_twin(s, r, valid, 0.2, 0.3))
    close(clip_cross(s, t, r, mask, 0.2, 0.3), cross_twin(s, t, r, valid, 0.2, 0.3))
    close(clip_self(s, r, mask, 0.2), self_twin(s, r, valid, 0.2, 0.2))


def test_gradcheck():
    valid = torch.tensor([True, False, True, True])
    s, t, r = rows64(4, 3), rows64(4, 3, seed=1), rows64(4, 2, seed=2)
    gradcheck(lambda s: clip_self(s, r, valid, 0.3), s)
    gradcheck(lambda s, t: clip_cross(s, t, r, valid, 0.3), s, t)


def test_the_teacher_of_self_is_a_constant():
    student, teacher = rows64(6, 5).requires_grad_(), rows64(6, 3).requires_grad_()
    clip_self(student, teacher).backward()
    assert student.grad.any()
    assert teacher.grad is None


def test_a_large_batch_makes_no_matrix(monkeypatch):
    s, t, r = rows64(64, 5), rows64(64, 5, seed=1), rows64(64, 3, seed=2)
    valid = torch.rand(64) < 0.8

    def both():
        return clip_self(s, r, valid, 0.2), clip_cross(s, t, r, valid, 0.2)

    expected = both()
    monkeypatch.setattr(dispatch, "SMALLEST_TILED", 64 * 64)
    s.requires_grad_(), t.requires_grad_()
    with LargestTensor() as largest:
        values = both()
        sum(values).backward()
    torch.testing.assert_close(values, expected)
    assert largest.numbers <= 64 * 5, largest.operation


def test_parity_of_cross_with_open_clip():
    """Its distillation part is the cross-entropy: the divergence plus the target's entropy."""
    theirs = DistillClipLoss()
    r = normalize(rows64(7, 4, seed=2))

    def published(s, t):
        s, t = normalize(s), normalize(t)
        return theirs(s, t, 5.0, r, r, 8.0)[1] - entropy(8.0 * r @ r.T)

    agree(
        lambda s, t: clip_cross(s, t, r, None, 1 / 5, 1 / 8),
        published,
        rows64(7, 5),
        rows64(7, 5, seed=1),
    )


def test_parity_of_self_with_open_clip():
    """Its cross-entropy of score matrices, of which the diagonal is cut out."""

    def off_diagonal(x):
        scores = normalize(x) @ normalize(x).T
        return scores[~torch.eye(7, dtype=torch.bool)].view(7, 6)

    def published(s, t):
        ours, goal = 5.0 * off_diagonal(s), 8.0 * off_diagonal(t).detach()
        return DistillClipLoss().dist_loss(goal, ours) - entropy(goal)

    agree(
        lambda s, t: clip_self(s, t, None, 1 / 5, 1 / 8),
        published,
        rows64(7, 5),
        rows64(7, 3, seed=1),
    )


def test_self_sees_similarities_alone():
    teacher = rows64(6, 4)
    student = 5 * teacher @ torch.linalg.qr(rows64(4, 4, seed=2)).Q
    close(clip_self(student, teacher), 0.0)


def test_cross_is_zero_for_equal_embeddings():
    teacher = rows64(6, 4)
    close(clip_cross(teacher, 3 * teacher, teacher), 0.0)


def test_one_row_has_no_relation():
    student = rows64(1, 4).requires_grad_()
    value = clip_self(student, rows64(1, 4, seed=1))
    value.backward()
    assert value == 0
    assert not student.grad.any()


def test_the_target_of_cross_is_not_projected():
    """A projector that makes all rows alike does not make the loss 0, and gets a gradient."""
    loss, batch = bound_loss("clip_distill", teacher_dim=5, **CROSS), random_batch(teacher_dim=5)
    s, t = loss.student_projector, loss.teacher_projector
    exact = clip_cross(
        s(batch.student.embedding), t(batch.teacher.embedding), batch.teacher.embedding
    )
    torch.testing.assert_close(loss(batch.student, batch.teacher), exact)
    result = step(loss, batch)
    for part in ("embedding", "student_projector.0.weight", "teacher_projector.0.weight"):
        assert result.tensors()[part].any(), part


@pytest.mark.parametrize("case", ["zero", "equal", "large", "one", "none valid", "some valid"])
def test_cross_is_finite(case):
    batch = random_batch()
    factor = {"zero": 0.0, "large": 1e4}.get(case, 1.0)
    batch = batch.change(student=batch.student.map(lambda x: factor * x))
    valid = {"none valid": [False] * 6, "some valid": [True, False, True, True, False, True]}
    if case in valid:
        batch = batch.change(valid=torch.tensor(valid[case]))
    if case in ("equal", "one"):
        batch = batch.rows(torch.zeros(6 if case == "equal" else 1, dtype=torch.int64))
    result = step(bound_loss("clip_distill", **CROSS), batch)
    assert all(torch.isfinite(tensor).all() for tensor in result.tensors().values())
    assert result.value >= -1e-6
    if case == "none valid":
        assert not any(tensor.any() for tensor in result.tensors().values())
    if case == "some valid":
        rows = batch.change(valid=None).rows(batch.valid.nonzero().flatten())
        absent = step(bound_loss("clip_distill", **CROSS), rows)
        torch.testing.assert_close(result.value, absent.value)


def test_cross_compiles_in_one_graph():
    loss, batch = bound_loss("clip_distill", **CROSS), random_batch()
    torch.compiler.reset()
    run = torch.compile(lambda s, t: loss(s, t), fullgraph=True, backend="eager")
    torch.testing.assert_close(
        run(batch.student, batch.teacher), loss(batch.student, batch.teacher)
    )


def test_options():
    batch = random_batch()
    s, t = batch.student.embedding, batch.teacher.embedding
    value = CLIPDistill(temperature=0.2, teacher_temperature=0.4)(batch.student, batch.teacher)
    torch.testing.assert_close(value, clip_self(s, t, None, 0.2, 0.4))
    value = CLIPDistill("cross", temperature=0.2)(batch.student, batch.teacher)
    torch.testing.assert_close(value, clip_cross(s, t, t, None, 0.2))
    assert not bound_loss("clip_distill").shared_space
    projected = bound_loss("clip_distill", form="cross", dim=4)
    assert projected.shared_space
    assert projected.student_projector(s).shape == (6, 4)
    with pytest.raises(ValueError, match='must be "self" or "cross", got \'both\''):
        CLIPDistill("both")
    with pytest.raises(ValueError, match="teacher_temperature must be a finite number above 0"):
        CLIPDistill(temperature=0.1, teacher_temperature=0.0)
    with pytest.raises(ValueError, match="has no shared space, got dim=4"):
        CLIPDistill(dim=4)
    with pytest.raises(ValueError, match="call loss.bind"):
        narrow = random_batch(teacher_dim=5)
        CLIPDistill("cross")(narrow.student, narrow.teacher)
