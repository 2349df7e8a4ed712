from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax
from torch import nn

from tests.losses.batches import bound_loss, call, random_batch
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
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.ucmkd import UCMKD, feature_alignment, label_alignment

LABELS = [[0, 1, 2, 0, 1, 2], [0, -1, 2, -1, 1, -1]]


def transport(student, teacher, valid, epsilon, iterations):
    s, t = kept(valid, student.tolist(), teacher.tolist())
    cost = [[max(0.0, 1 - cosine(a, b)) for b in t] for a in s]
    kernel = [[math.exp(-c / epsilon) for c in row] for row in cost]
    size, mass = range(len(s)), 1 / len(s)
    v = [1.0] * len(s)
    for _ in range(iterations):
        u = [mass / sum(kernel[i][j] * v[j] for j in size) for i in size]
        v = [mass / sum(kernel[i][j] * u[i] for i in size) for j in size]
    return sum(u[i] * kernel[i][j] * v[j] * cost[i][j] for i in size for j in size)


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize(("epsilon", "iterations"), [(0.1, 100), (0.5, 3)])
def test_twin_of_the_features(valid, epsilon, iterations):
    student, teacher = rows64(6, 4), rows64(6, 4, seed=1)
    close(
        feature_alignment(student, teacher, optional(valid), epsilon, iterations),
        transport(student, teacher, valid, epsilon, iterations),
    )


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", LABELS)
def test_twin_of_the_labels(valid, target):
    student, through = rows64(6, 3), 2 * rows64(6, 3, seed=1)
    values = []
    for a, b, y in zip(*kept(valid, student.tolist(), through.tolist(), target), strict=True):
        if y >= 0:
            kappa = softmax(b)[y]
            values.append(kappa * math.log(kappa) - math.log(softmax(a)[y]))
    close(label_alignment(student, through, torch.tensor(target), optional(valid)), mean(values))


def test_closed_form():
    # p_s(y) = 1/4 and p_t(y) = 1/2: log 4 − ½ log 2.
    student = torch.tensor([[1.0, 3.0]]).double().log()
    value = label_alignment(student, torch.zeros(1, 2).double(), torch.tensor([0]))
    close(value, math.log(4) - 0.5 * math.log(2))
    # Two rows on the axes, the teacher's in the other order: nothing to move.
    axes = torch.eye(2).double()
    close(feature_alignment(axes, 3 * axes.flip(0), regularisation=0.01), 0.0)
    close(feature_alignment(axes, -axes, regularisation=0.01), 1.0)  # to the right angle


def test_a_small_regularisation_finds_the_best_assignment():
    student, teacher = rows64(7, 3), rows64(7, 3, seed=1)
    cost = 1 - torch.nn.functional.cosine_similarity(student[:, None], teacher[None], dim=2)
    rows, columns = linear_sum_assignment(cost.numpy())
    found = feature_alignment(student, teacher, None, 0.005, 3000)
    torch.testing.assert_close(found, cost[rows, columns].mean(), rtol=1e-3, atol=1e-4)


def test_pairing_plays_no_role():
    student, teacher = rows64(6, 4), rows64(6, 4, seed=1)
    mixed = feature_alignment(student, teacher[torch.tensor([3, 0, 5, 1, 4, 2])])
    torch.testing.assert_close(mixed, feature_alignment(student, teacher))


def test_gradcheck_of_the_labels():
    valid, target = torch.tensor([True, False, True, True]), torch.tensor([0, 1, -1, 2])
    kappa_is_constant = rows64(4, 3, seed=1)
    gradcheck(lambda s: label_alignment(s, kappa_is_constant, target, valid), rows64(4, 3))


def test_the_gradient_of_the_features_is_that_of_the_regularised_minimum():
    """By central differences of min Σ P·C − ε·H(P), whose value is Σ P·C + ε Σ P log P."""
    from xdistill.losses.parts.sinkhorn import sinkhorn_plan
    from xdistill.losses.parts.unit_rows import unit_rows

    teacher = rows64(4, 3, seed=1)

    def objective(student):
        cost = 1 - unit_rows(student) @ unit_rows(teacher).T
        plan = sinkhorn_plan(cost, None, 0.3, 500)
        return (plan * cost).sum() + 0.3 * torch.special.xlogy(plan, plan).sum()

    student = rows64(4, 3).requires_grad_()
    feature_alignment(student, teacher, None, 0.3, 500).backward()
    for place in [(0, 0), (1, 2), (3, 1)]:
        step = torch.zeros(4, 3).double()
        step[place] = 1e-5
        slope = (objective(student + step) - objective(student - step)) / 2e-5
        torch.testing.assert_close(student.grad[place], slope.detach(), rtol=1e-5, atol=1e-7)


def test_kappa_gets_no_gradient():
    through = rows64(4, 3, seed=1).requires_grad_()
    target = torch.tensor([0, 1, 2, 0])
    label_alignment(rows64(4, 3), through, target).backward()
    p = through.detach().softmax(1)
    hit = torch.nn.functional.one_hot(target, 3)
    kappa = p.gather(1, target[:, None])
    torch.testing.assert_close(through.grad, kappa * (hit - p) / 4)


def test_a_module_with_the_teachers_classifier():
    torch.manual_seed(0)
    head, batch = nn.Linear(5, 3), random_batch(teacher_dim=5)
    loss = bound_loss("ucmkd", 8, 5, classifier=head, feature_weight=2.0, label_weight=0.5)
    assert loss.inputs == ("embedding", "logits", "labels") and loss.unpaired
    trained = {name for name, p in loss.named_parameters() if p.requires_grad}
    assert trained == {"adapter.weight", "adapter.bias"}
    ours = loss.adapter(batch.student.embedding)
    expected = 2 * feature_alignment(ours, batch.teacher.embedding)
    expected = expected + 0.5 * label_alignment(batch.student.logits, head(ours), batch.target)
    torch.testing.assert_close(call(loss, batch), expected)
    assert loss.terms.keys() == {"ucmkd", "ucmkd/features", "ucmkd/labels"}
    with pytest.raises(ValueError, match="call loss.bind"):
        call(UCMKD(), batch)
    with pytest.raises(ValueError, match="iterations must be a whole number of at least 1"):
        UCMKD(iterations=0)


def test_parity_with_numpy():
    """The public code's arithmetic of the labels; its κ is taken at the point of expansion."""
    target = np.array([0, 2, 1, 0])
    through = rows64(4, 3, seed=1)

    def theirs(student):
        log_t = log_softmax(through.numpy(), axis=1)
        ratio = log_softmax(student, axis=1) - np.exp(log_t) * log_t
        return -ratio[np.arange(4), target].mean()

    agree_with_numpy(
        lambda s: label_alignment(s, through, torch.from_numpy(target)), theirs, rows64(4, 3)
    )
