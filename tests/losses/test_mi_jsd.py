from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.losses.batches import bound_loss, fresh_step, random_batch, step
from tests.losses.loops import MASKS, close, gradcheck, mean, optional, rows64
from xdistill.losses.mi_jsd import MIJSD, mi_jsd


def twin(scores, valid):
    rows = [i for i in range(len(scores)) if valid is None or valid[i]]
    paired = [math.log(1 + math.exp(-scores[i][i])) for i in rows]
    others = [math.log(1 + math.exp(scores[i][j])) for i in rows for j in rows if i != j]
    return mean(paired) + mean(others)


def test_closed_form():
    # Pairs score log 3, others −log 3: softplus(−log 3) = log(4/3), twice.
    scores = math.log(3) * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    torch.testing.assert_close(mi_jsd(scores), torch.tensor(2 * math.log(4 / 3)))
    torch.testing.assert_close(mi_jsd(torch.zeros(5, 5)), torch.tensor(2 * math.log(2)))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    scores = 3 * rows64(6, 6)
    close(mi_jsd(scores, optional(valid)), twin(scores.tolist(), valid))


def test_gradcheck():
    valid = torch.tensor([True, False, True, True])
    gradcheck(lambda scores: mi_jsd(scores, valid), rows64(4, 4))


def test_large_scores():
    for sign in (1.0, -1.0):
        scores = (sign * 1e4 * torch.eye(3)).requires_grad_()
        value = mi_jsd(scores)
        value.backward()
        torch.testing.assert_close(value.detach(), torch.tensor(math.log(2) + (sign < 0) * 1e4))
        assert torch.isfinite(scores.grad).all()


def test_one_row_is_zero():
    result = step(bound_loss("mi_jsd"), random_batch(rows=1))
    assert not any(tensor.any() for tensor in result.tensors().values())


def test_the_scale_of_embeddings_does_not_matter():
    loss, batch = bound_loss("mi_jsd", teacher_dim=5), random_batch(teacher_dim=5)
    scaled = batch.change(
        student=batch.student.with_embedding(1e4 * batch.student.embedding),
        teacher=batch.teacher.with_embedding(1e-3 * batch.teacher.embedding),
    )
    torch.testing.assert_close(fresh_step(loss, scaled).value, fresh_step(loss, batch).value)


def test_the_critic_learns_what_belongs_together():
    """On new rows: below 2 log 2 where the teacher follows the student, and not below otherwise."""
    turn = torch.linalg.qr(torch.randn(4, 4)).Q
    values = {}
    for dependent in (True, False):
        torch.manual_seed(0)
        loss = bound_loss("mi_jsd", 4, 4)
        optimizer = torch.optim.Adam(loss.parameters(), 1e-2)
        for number in range(61):
            s = torch.randn(64, 4)
            t = s @ turn if dependent else torch.randn(64, 4)
            value = mi_jsd(loss.critic(s, t))
            if number < 60:
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
        values[dependent] = value.item()
    assert values[True] < 0.8 < 1.3 < values[False]


def test_widths_in_the_constructor_in_place_of_bind():
    batch = random_batch(teacher_dim=5)
    with pytest.raises(ValueError, match="mi_jsd has no critic yet"):
        MIJSD()(batch.student, batch.teacher)
    loss = MIJSD(hidden_dim=7, critic_dim=3, student_dim=8, teacher_dim=5)
    shapes = [tuple(p.shape) for p in loss.parameters() if p.ndim == 2]
    assert shapes == [(7, 8), (3, 7), (7, 5), (3, 7)]
    assert torch.isfinite(loss(batch.student, batch.teacher))


def test_parity_with_numpy():
    scores = 3 * rows64(9, 9)
    t, other = scores.numpy(), ~np.eye(9, dtype=bool)
    exact = np.logaddexp(0, -np.diag(t)).mean() + np.logaddexp(0, t[other]).mean()
    close(mi_jsd(scores), float(exact))
