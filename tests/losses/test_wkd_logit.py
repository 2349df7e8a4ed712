from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.special import softmax as scipy_softmax

from tests.losses.batches import bound_loss, call, random_batch, step
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.cka import cka
from xdistill.losses.parts.sinkhorn import transport_between
from xdistill.losses.wkd_logit import WKDLogit, cka_costs, prototype_costs, wkd_logit

LABELS = [[0, 1, 2, 3, 0, 1], [0, -1, 2, -1, 3, 1]]
COST = prototype_costs(rows64(4, 3, seed=9))


def moved(p, q, cost, epsilon, iterations):
    """Sinkhorn's algorithm on the scalings u and v, in the order of the public code."""
    size = range(len(p))
    kernel = [[math.exp(-cost[i][j] / epsilon) for j in size] for i in size]
    u = [1.0] * len(p)
    for _ in range(iterations):
        v = [q[j] / sum(kernel[i][j] * u[i] for i in size) for j in size]
        u = [p[i] / sum(kernel[i][j] * v[j] for j in size) for i in size]
    return sum(u[i] * kernel[i][j] * v[j] * cost[i][j] for i in size for j in size)


def twin(student, teacher, target, valid, gamma, temperature):
    values = []
    columns = kept(valid, student.tolist(), teacher.tolist(), target)
    for z_s, z_t, y in zip(*columns, strict=True):
        if y < 0:
            continue
        others = [k for k in range(len(z_t)) if k != y]
        p, q = (softmax([z[k] / temperature for k in others]) for z in (z_s, z_t))
        cost = [[float(COST[i, j]) for j in others] for i in others]
        first = -softmax(z_t)[y] * math.log(softmax(z_s)[y])
        values.append(first + gamma * moved(p, q, cost, 0.05, 10))
    return mean(values)


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", LABELS)
@pytest.mark.parametrize(("gamma", "temperature"), [(30.0, 2.0), (0.5, 1.0)])
def test_twin(valid, target, gamma, temperature):
    student, teacher = 2 * rows64(6, 4), 3 * rows64(6, 4, seed=1)
    close(
        wkd_logit(
            student, teacher, torch.tensor(target), COST, optional(valid), gamma, temperature
        ),
        twin(student, teacher, target, valid, gamma, temperature),
    )


def test_closed_form():
    # Three classes, label 0. Among the others the student says (3/4, 1/4), the teacher
    # (1/4, 3/4): half the mass moves, at a price of 0.6. p_t(0) = p_s(0) = 1/2.
    student = torch.tensor([[0.5, 0.375, 0.125]], dtype=torch.float64).log()
    teacher = torch.tensor([[0.5, 0.125, 0.375]], dtype=torch.float64).log()
    cost = 0.6 * (1 - torch.eye(3, dtype=torch.float64))
    value = wkd_logit(student, teacher, torch.tensor([0]), cost, None, 10.0, 1.0, 0.02, 200)
    close(value, 0.5 * math.log(2) + 10 * 0.5 * 0.6)


def test_the_plan_of_a_small_regularisation_is_that_of_the_linear_programme():
    p, q = rows64(1, 4).softmax(1), rows64(1, 4, seed=1).softmax(1)
    rows = np.kron(np.eye(4), np.ones((1, 4)))
    columns = np.kron(np.ones((1, 4)), np.eye(4))
    exact = linprog(
        COST.flatten().numpy(),
        A_eq=np.vstack([rows, columns]),
        b_eq=np.concatenate([p[0].numpy(), q[0].numpy()]),
    ).fun
    value = transport_between(p.log(), q.log(), COST[None], 0.002, 5000)
    torch.testing.assert_close(value[0].item(), exact, rtol=1e-3, atol=1e-4)


def test_gradcheck():
    target, valid = torch.tensor([0, 1, -1, 2]), torch.tensor([True, False, True, True])
    gradcheck(
        lambda s, t: wkd_logit(s, t, target, COST, valid, 5.0, 2.0),
        rows64(4, 4),
        rows64(4, 4, seed=1),
    )


def test_confusing_like_classes_costs_less():
    vectors = torch.tensor([[0.0, 5.0], [1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]]).double()
    cost = prototype_costs(vectors)
    assert cost[1, 2] < 0.1 * cost[1, 3]
    teacher = torch.tensor([[0.0, 3.0, 0.0, 0.0]]).double()
    near, far = (torch.tensor([z]).double() for z in ([0.0, 0, 3, 0], [0.0, 0, 0, 3]))
    label = torch.tensor([0])
    assert wkd_logit(near, teacher, label, cost) < 0.3 * wkd_logit(far, teacher, label, cost)


def test_costs_of_classes_from_cka():
    features, target = rows64(11, 5), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, -1])
    cost = cka_costs(features, target, 3, sharpness=2.0)
    for i in range(3):
        for j in range(3):
            gap = cka(features[target == i][:3], features[target == j][:3]).item()
            close(cost[i, j], 1 - math.exp(-2 * gap))
    with pytest.raises(ValueError, match="at least 2 rows of each class, got 0 of class 3"):
        cka_costs(features, target, 4)


def test_costs_of_prototypes():
    # Centred: (1, 0), (−1, 0) and an unseen class.
    vectors = torch.tensor([[3.0, 1.0], [1.0, 1.0], [9.0, 9.0]]).double()
    cost = prototype_costs(vectors, torch.tensor([True, True, False]), sharpness=0.5)
    expected = torch.tensor([[0, 2, 1], [2, 0, 1], [1, 1, 0]]).double()
    torch.testing.assert_close(cost, 1 - torch.exp(-0.5 * expected))


def test_the_means_of_classes_grow_with_the_rows_seen():
    loss = bound_loss("wkd_logit")
    first, second = (
        random_batch(seed=seed).change(target=torch.tensor([0, 1, -1, 1, 0, 1])) for seed in (1, 2)
    )
    second = second.change(valid=torch.tensor([False, True, True, True, True, True]))
    step(loss, first)
    value = step(loss, second).value
    rows = torch.cat([first.teacher.embedding, second.teacher.embedding])
    label = torch.tensor([0, 1, -1, 1, 0, 1, -1, 1, -1, 1, 0, 1])
    means = torch.stack([rows[label == k].mean(0) for k in (0, 1)] + [torch.zeros(8)])
    cost = prototype_costs(means, torch.tensor([True, True, False]))
    expected = wkd_logit(
        second.student.logits, second.teacher.logits, second.target, cost, second.valid
    )
    torch.testing.assert_close(value, expected)
    assert loss.counts.tolist() == [3, 6, 0]


def test_a_given_cost_needs_neither_bind_nor_embeddings():
    batch, cost = random_batch(), COST[:3, :3].float()
    loss = WKDLogit(cost, gamma=2.0, temperature=1.5, iterations=4)
    assert loss.inputs == ("logits", "labels") and not loss.keeps_memory
    expected = wkd_logit(
        batch.student.logits, batch.teacher.logits, batch.target, cost, None, 2.0, 1.5, 0.05, 4
    )
    torch.testing.assert_close(call(loss, batch), expected)
    with pytest.raises(ValueError, match="costs between 4 classes, the student has 3"):
        call(WKDLogit(COST), batch)
    for wrong in (torch.ones(3, 3), -cost, torch.zeros(2, 3)):
        with pytest.raises(ValueError, match="cost must be"):
            WKDLogit(wrong)
    with pytest.raises(ValueError, match="call loss.bind"):
        call(WKDLogit(), batch)
    with pytest.raises(ValueError, match="iterations must be a whole number of at least 1, got 0"):
        WKDLogit(iterations=0)


def test_saturated_logits():
    teacher, student = torch.tensor([[1e4, 0.0, -1e4]]), torch.tensor([[-1e4, -1e4, 1e4]])
    student.requires_grad_()
    cost = 0.5 * (1 - torch.eye(3))
    value = wkd_logit(student, teacher, torch.tensor([0]), cost, gamma=3.0)
    value.backward()
    torch.testing.assert_close(value, torch.tensor(2e4 + 3 * 0.5))
    assert student.grad is not None and student.grad.isfinite().all()


def test_parity_with_numpy():
    """The public code's arithmetic, without the 1e-8 that its denominators hold against 0 / 0."""
    target, cost = np.array([0, 3, 1, 2]), COST.numpy()

    def theirs(student, teacher):
        first = scipy_softmax(teacher, 1) * np.log(scipy_softmax(student, 1))
        total = -first[np.arange(4), target]
        for row, label in enumerate(target):
            others = np.arange(4) != label
            p, q = (scipy_softmax(z[row, others] / 2) for z in (student, teacher))
            part = cost[others][:, others]
            kernel, u = np.exp(-part / 0.05), np.ones(3) / 3
            for _ in range(10):
                v = q / (kernel.T @ u)
                u = p / (kernel @ v)
            total[row] += 30 * (u[:, None] * kernel * v * part).sum()
        return total.mean()

    agree_with_numpy(
        lambda s, t: wkd_logit(s, t, torch.from_numpy(target), COST),
        theirs,
        2 * rows64(4, 4),
        2 * rows64(4, 4, seed=1),
    )
