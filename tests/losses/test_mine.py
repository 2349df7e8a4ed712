from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import MASKS, close, gradcheck, mean, optional, rows64
from xdistill.losses.mine import MINE, mine


def others(scores, valid):
    rows = [i for i in range(len(scores)) if valid is None or valid[i]]
    return [(i, j) for i in rows for j in rows if i != j], rows


def twin(scores, valid):
    apart, rows = others(scores, valid)
    partition = mean([math.exp(scores[i][j]) for i, j in apart])
    return -(mean([scores[i][i] for i in rows]) - math.log(partition))


def log_partition(loss, batch):
    scores = loss.critic(batch.student.embedding, batch.teacher.embedding).detach()
    return scores[~torch.eye(len(scores), dtype=torch.bool)].exp().mean().log()


def test_closed_form():
    # Pairs score 2; others log 2 and log 4, so that E e^T = 3.
    scores = torch.tensor([[2.0, math.log(2)], [math.log(4), 2.0]])
    torch.testing.assert_close(mine(scores), torch.tensor(-(2 - math.log(3))))
    torch.testing.assert_close(mine(torch.zeros(5, 5)), torch.tensor(0.0))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    scores = 3 * rows64(6, 6)
    close(mine(scores, optional(valid)), twin(scores.tolist(), valid))
    average = torch.tensor(0.7, dtype=torch.float64)
    close(mine(scores, optional(valid), average), twin(scores.tolist(), valid))


@pytest.mark.parametrize("valid", MASKS)
def test_the_gradient_divides_by_the_moving_average(valid):
    """Equation 12, entry by entry: −1/B on pairs, e^T/(average · count) on others."""
    scores, average = rows64(6, 6).requires_grad_(), 1.7
    log_average = torch.tensor(math.log(average), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(mine(scores, optional(valid), log_average), scores)
    apart, rows = others(scores, valid)
    exact = torch.zeros(6, 6, dtype=torch.float64)
    for i in rows:
        exact[i, i] = -1 / len(rows)
    for i, j in apart:
        exact[i, j] = scores[i, j].exp().item() / average / len(apart)
    torch.testing.assert_close(gradient, exact)


def test_gradcheck():
    valid = torch.tensor([True, False, True, True])
    gradcheck(lambda scores: mine(scores, valid), rows64(4, 4))


def test_large_scores():
    scores = (1e4 * rows64(4, 4)).float().requires_grad_()
    value = mine(scores)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(scores.grad).all()


def test_the_average_moves_in_training_alone():
    loss = bound_loss("mine", rate=0.25)
    first, second = random_batch(seed=1), random_batch(seed=2)
    loss.eval()
    step(loss, first)
    assert not loss.has_average
    loss.train()
    step(loss, first)
    torch.testing.assert_close(loss.log_average, log_partition(loss, first))
    step(loss, second)
    a, b = (log_partition(loss, batch).exp() for batch in (first, second))
    torch.testing.assert_close(loss.log_average.exp(), 0.75 * a + 0.25 * b)


def test_the_first_batch_is_its_own_average_and_so_is_every_batch_at_rate_one():
    scores = []
    for rate in (0.01, 1.0):
        loss = bound_loss("mine", rate=rate)
        if rate == 1.0:
            step(loss, random_batch(seed=5))
        batch = random_batch()
        corrected = step(loss, batch).embedding
        student = batch.student.embedding.clone().requires_grad_()
        mine(loss.critic(student, batch.teacher.embedding)).backward()
        torch.testing.assert_close(corrected, student.grad)
        scores.append(corrected)
    torch.testing.assert_close(scores[0], scores[1])


def test_a_batch_far_above_the_average_weighs_at_most_one_over_the_rate():
    loss = bound_loss("mine", rate=0.1)
    step(loss, random_batch(seed=1))
    loss.log_average.fill_(-200.0)
    batch = random_batch()
    result = step(loss, batch)
    # The weight of the log partition's gradient is its ratio to the average, 1/0.1 here.
    student = batch.student.embedding.clone().requires_grad_()
    scores = loss.critic(student, batch.teacher.embedding)
    apart = scores[~torch.eye(6, dtype=torch.bool)]
    (10 * apart.exp().mean().log() - scores.diagonal().mean()).backward()
    torch.testing.assert_close(result.embedding, student.grad)


def test_one_row_is_zero_and_leaves_the_average():
    loss = bound_loss("mine")
    result = step(loss, random_batch(rows=1))
    assert not any(tensor.any() for tensor in result.tensors().values())
    assert not loss.has_average
    step(loss, random_batch(seed=1))
    before = loss.log_average.clone()
    step(loss, random_batch(rows=1))
    assert torch.equal(loss.log_average, before)


def test_the_critic_finds_the_mutual_information_of_two_gaussians():
    """Correlation 0.9 in one direction of the plane: −½ log(1 − 0.81) = 0.83 nats, 0 without."""
    values = {}
    for correlation in (0.9, 0.0):
        torch.manual_seed(0)
        loss = bound_loss("mine", 2, 2, rate=0.1)
        optimizer = torch.optim.Adam(loss.parameters(), 5e-3)
        history = []
        for _ in range(150):
            s, noise = torch.randn(128), torch.randn(128)
            t = correlation * s + math.sqrt(1 - correlation**2) * noise
            # The critic takes rows to one length: (x, 1) keeps what a lone x would lose.
            ours, theirs = (torch.stack([x, torch.ones_like(x)], dim=1) for x in (s, t))
            scores = loss.critic(ours, theirs)
            average = loss.average(scores, ~torch.eye(128, dtype=torch.bool))
            value = mine(scores, None, average)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            history.append(-value.item())
        values[correlation] = mean(history[-40:])
    assert 0.6 < values[0.9] < 1.0
    assert -0.1 < values[0.0] < 0.1


@pytest.mark.parametrize("rate", [0.0, 1.5])
def test_rates_that_are_no_share(rate):
    with pytest.raises(ValueError, match=f"above 0 and at most 1, got {rate}"):
        MINE(rate=rate)


def test_no_critic_before_bind():
    batch = random_batch()
    with pytest.raises(ValueError, match="mine has no critic yet"):
        MINE()(batch.student, batch.teacher)


def test_parity_with_numpy():
    scores = 3 * rows64(9, 9)
    t, other = scores.numpy(), ~np.eye(9, dtype=bool)
    exact = -(np.trace(t) / 9 - np.log(np.exp(t[other]).mean()))
    close(mine(scores), float(exact))
