from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr
from scipy.special import softmax as scipy_softmax

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.kd import kd
from xdistill.losses.wsld import WSLD, soft_label_weights, wsld

LABELS = [[0, 1, 2, 3, 0, 1], [0, -1, 2, -1, 3, 1]]


def twin(student, teacher, target, valid, temperature):
    values = []
    columns = kept(valid, student.tolist(), teacher.tolist(), target)
    for z_s, z_t, y in zip(*columns, strict=True):
        if y < 0:
            continue
        weight = 1 - math.exp(-math.log(softmax(z_s)[y]) / math.log(softmax(z_t)[y]))
        p_s = softmax([z / temperature for z in z_s])
        p_t = softmax([z / temperature for z in z_t])
        values.append(weight * sum(t * math.log(t / s) for s, t in zip(p_s, p_t, strict=True)))
    return temperature**2 * mean(values)


def test_closed_form():
    # p_t(y) = 1/2 and p_s(y) = 1/8 = (1/2)³: CE_s/CE_t = 3. T = 1, two classes.
    teacher, student = torch.zeros(1, 2), torch.tensor([[0.0, math.log(7)]])
    exact = (1 - math.exp(-3)) * (0.5 * math.log(4) + 0.5 * math.log(4 / 7))
    value = wsld(student, teacher, torch.tensor([0]), temperature=1.0)
    torch.testing.assert_close(value, torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", LABELS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_twin(valid, target, temperature):
    student, teacher = 2 * rows64(6, 4), 3 * rows64(6, 4, seed=1)
    close(
        wsld(student, teacher, torch.tensor(target), optional(valid), temperature),
        twin(student, teacher, target, valid, temperature),
    )


def test_gradient_takes_the_weight_as_a_constant():
    student, teacher, target = (
        rows64(1, 4).requires_grad_(),
        rows64(1, 4, seed=1),
        torch.tensor([2]),
    )
    (gradient,) = torch.autograd.grad(wsld(student, teacher, target), student)
    (plain,) = torch.autograd.grad(kd(student, teacher, temperature=2.0), student)
    weight = soft_label_weights(student, teacher, target)
    assert not weight.requires_grad
    torch.testing.assert_close(gradient, weight * plain)


def test_gradcheck(monkeypatch):
    """With weights that stay put; finite differences would see them move."""
    target, valid = torch.tensor([0, 1, -1, 2]), torch.tensor([True, False, True, True])
    student, teacher = rows64(4, 3), rows64(4, 3, seed=1)
    fixed = soft_label_weights(student, teacher, target)
    monkeypatch.setattr("xdistill.losses.wsld.soft_label_weights", lambda *_: fixed)
    gradcheck(lambda s, t: wsld(s, t, target, valid), student, teacher)


def test_weights_of_equal_better_and_worse_students():
    teacher, target = rows64(3, 4), torch.tensor([0, 1, 2])
    hot = 30 * torch.eye(4, dtype=torch.float64)[target]
    equal, better, worse = (
        soft_label_weights(teacher + shift, teacher, target) for shift in (0 * hot, hot, -hot)
    )
    torch.testing.assert_close(equal, torch.full_like(equal, 1 - math.exp(-1)))
    assert (better < 1e-10).all()
    assert (worse > 1 - 1e-4).all()


def test_weights_of_a_saturated_teacher():
    """CE_t is 0: the limit is 1, but 0 for a student that is as sure."""
    teacher = torch.tensor([[1e4, -1e4]]).expand(4, 2)
    student = torch.tensor([[1e4, -1e4], [0.0, 0.0], [-1e4, 1e4], [5.0, 0.0]])
    weights = soft_label_weights(student, teacher, torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(weights, torch.tensor([0.0, 1.0, 1.0, 1.0]), rtol=0, atol=0)


def test_weights_compare_two_networks_that_are_almost_sure():
    """p(y) rounds to 1 in both, log p(y) = −e^−40 and −2e^−40 do not."""
    student, teacher = torch.tensor([[40.0 - math.log(2), 0.0]]), torch.tensor([[40.0, 0.0]])
    weight = soft_label_weights(student, teacher, torch.tensor([0]))
    torch.testing.assert_close(weight, torch.tensor([1 - math.exp(-2)]), rtol=1e-5, atol=0)


def test_a_module_with_its_options():
    loss, batch = WSLD(temperature=3.0), random_batch()
    expected = wsld(batch.student.logits, batch.teacher.logits, batch.target, temperature=3.0)
    torch.testing.assert_close(loss(batch.student, batch.teacher, batch.target), expected)
    assert WSLD.recommended_weight == 2.25
    with pytest.raises(ValueError, match="wsld: temperature must be a finite number above 0"):
        WSLD(temperature=0.0)


def test_parity_with_scipy():
    target = torch.tensor([0, 3, 1, 2])
    student, teacher = 2 * rows64(4, 4), 2 * rows64(4, 4, seed=1)
    hot = np.eye(4, dtype=bool)[target.numpy()]
    ce_s, ce_t = (-log_softmax(z.numpy(), axis=1)[hot] for z in (student, teacher))
    weights = 1 - np.exp(-ce_s / ce_t)

    def theirs(student):
        p_s, p_t = (scipy_softmax(z / 2, axis=1) for z in (student, teacher.numpy()))
        return 4 * (weights * rel_entr(p_t, p_s).sum(axis=1)).mean()

    agree_with_numpy(lambda s: wsld(s, teacher, target), theirs, student)
