from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import MASKS, close, cosine, dot, gradcheck, kept, mean, optional, rows64
from xdistill.losses.parts.crd_memory import IndexMemory, QueueMemory
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.losses.wcord import Critic, WCoRD, global_contrast, local_contrast


def test_closed_form():
    # Each pair scores 1; the negatives of the first anchor have a mean of ½, of the second 0.
    positive, negative = torch.ones(2), torch.tensor([[0.0, 1.0], [-1.0, 1.0]])
    torch.testing.assert_close(global_contrast(positive, negative), torch.tensor(-0.75))
    # One row: all mass goes to its own key, whose cosine is 0.6.
    value = local_contrast(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(value, torch.tensor(0.4))


@pytest.mark.parametrize("valid", MASKS)
def test_twin_of_the_global_term(valid):
    positive, negative = rows64(6), rows64(6, 4, seed=1)
    counted = rows64(6, 4, seed=2) > 0
    value = global_contrast(positive, negative, optional(valid), counted, negative_weight=3.0)
    columns = (positive.tolist(), negative.tolist(), counted.tolist())
    exact = [
        3 * mean([x for x, there in zip(others, mask, strict=True) if there]) - own
        for own, others, mask in zip(*kept(valid, *columns), strict=True)
    ]
    close(value, mean(exact))


@pytest.mark.parametrize("valid", MASKS)
def test_parity_of_the_local_term_with_pot(valid):
    student, teacher = rows64(6, 3), rows64(6, 3, seed=1)
    rows = kept(valid, student.tolist(), teacher.tolist())
    cost = np.array([[1 - cosine(a, b) for b in rows[1]] for a in rows[0]])
    mass = np.full(len(cost), 1 / len(cost))
    plan = ot.sinkhorn(mass, mass, cost, 0.1, numItermax=5000, stopThr=1e-12)
    value = local_contrast(student, teacher, optional(valid), 0.1, iterations=1000)
    torch.testing.assert_close(value.item(), (plan * cost).sum(), rtol=1e-6, atol=1e-8)


def test_whole_loss_from_the_banks():
    """All other rows are negatives, the critic starts as the cosine / √2."""
    torch.manual_seed(0)
    loss = WCoRD(global_weight=2.0, local_weight=3.0, dim=None, num_samples=7).bind(4, 4).double()
    batch = random_batch(3, 4, 4, dtype=torch.float64).change(index=torch.tensor([5, 0, 2]))
    banks = (loss.memory.teacher.tolist(), loss.memory.student.tolist())
    sides = [unit_rows(one.embedding).tolist() for one in (batch.student, batch.teacher)]
    exact = 0.0
    for anchors, bank in zip(sides, banks, strict=True):
        for anchor, i in zip(anchors, [5, 0, 2], strict=True):
            scores = [dot(anchor, key) / math.sqrt(2) for key in bank]
            exact += (mean([x for j, x in enumerate(scores) if j != i]) - scores[i]) / 3
    local = local_contrast(batch.student.embedding, batch.teacher.embedding).item()
    close(loss(batch.student, batch.teacher, index=batch.index), 2 * exact + 3 * local)


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda p, n: global_contrast(p, n, valid), rows64(3), rows64(3, 5, seed=1))
    critic = Critic(3).double().eval()
    gradcheck(lambda w: torch.func.functional_call(critic, {"weight": w}, ()), rows64(3, 3, seed=4))


@pytest.mark.parametrize("with_index", [True, False])
def test_both_memories_apply_the_critic(with_index):
    memory = IndexMemory(9, 3, 8, 0.5) if with_index else QueueMemory(9, 3)
    memory = memory.double()
    s, t, critic = unit_rows(rows64(4, 3)), unit_rows(rows64(4, 3, seed=1)), rows64(3, 3, seed=2)
    keep, index = torch.ones(4, dtype=torch.bool), torch.arange(4)
    memory.update(s, t, keep, index)
    student, teacher = memory.keys(s, t, keep, index, critic)
    old_s, old_t = (memory.student[:4], memory.teacher[:4]) if with_index else (s, t)
    torch.testing.assert_close(student.positive, (s @ critic * old_t).sum(1))
    torch.testing.assert_close(teacher.positive, (old_s @ critic * t).sum(1))
    scores = s @ critic @ old_t.T
    expected = scores[0, 1:] if with_index else scores[0]
    torch.testing.assert_close(student.negative[0, : len(expected)], expected)


def test_the_critic_is_lipschitz():
    critic = Critic(6)
    with torch.no_grad():
        critic.weight.copy_(rows64(6, 6).float())
    for _ in range(200):
        matrix = critic()
    largest = torch.linalg.svdvals(matrix)[0] * math.sqrt(2)
    torch.testing.assert_close(largest, torch.tensor(1.0), rtol=1e-4, atol=0)
    pairs = unit_rows(rows64(2, 500, 2, 6).float())  # [2, 500, (s, t), D]
    g = torch.einsum("...d,de,...e->...", pairs[:, :, 0], matrix, pairs[:, :, 1])
    moved = (pairs[0] - pairs[1]).flatten(1).norm(dim=1)
    assert ((g[0] - g[1]).abs() <= moved + 1e-5).all()


def test_independent_features_have_no_distance_and_equal_ones_have_one():
    own, other = unit_rows(rows64(4000, 8)), unit_rows(rows64(4000, 8, seed=1))
    for key, expected in ((other, 0.0), (own, -1.0)):
        strangers = own @ key[:100].flip(0).T
        value = global_contrast((own * key).sum(1)[100:], strangers[100:])
        assert value.item() == pytest.approx(expected, abs=0.02)


def test_the_local_term_does_not_ask_which_row_belongs_to_which():
    student, teacher = rows64(5, 3), rows64(5, 3, seed=1)
    close(local_contrast(student, teacher.flip(0)), local_contrast(student, teacher).item())


def test_terms_and_queue():
    batch = random_batch()
    loss = bound_loss("wcord", form="queue", num_negatives=10, global_weight=2.0, local_weight=5.0)
    for _ in range(3):
        value = step(loss, batch.change(index=None)).value
    parts = 2 * loss.terms["wcord/global"] + 5 * loss.terms["wcord/local"]
    torch.testing.assert_close(value, parts)


def test_training_makes_pairs_score_higher_than_strangers():
    torch.manual_seed(0)
    loss = WCoRD(dim=4, num_samples=6, local_weight=0.0).bind(8, 8)
    batch = random_batch().change(index=torch.arange(6))
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.02)
    values = []
    for _ in range(80):
        optimiser.zero_grad()
        values.append(loss(batch.student, batch.teacher, index=batch.index))
        values[-1].backward()
        optimiser.step()
    assert values[-1] < -0.5 < values[0]


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="wcord: regularisation must be a finite number above 0"):
        WCoRD(regularisation=0)
    with pytest.raises(ValueError, match="iterations must be a whole number of at least 1, got 0"):
        WCoRD(iterations=0)
    with pytest.raises(ValueError, match="wcord: form must be"):
        WCoRD(form="bank")
    with pytest.raises(ValueError, match="wcord with form=.index. needs num_samples"):
        WCoRD(memory_map=tmp_path).bind(8, 8)
    batch = random_batch()
    with pytest.raises(ValueError, match="wcord has no memory yet; call loss.bind"):
        WCoRD()(batch.student, batch.teacher)
