from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.loops import softmax as loop_softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.dkd import DKD, dkd, nckd, tckd
from xdistill.losses.kd import kd

LABELS = [[0, 1, 2, 3, 0, 1], [0, -1, 2, -1, 3, 1]]


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def twin(student, teacher, target, valid, temperature):
    """The means of TCKD and of NCKD, from equations 2 to 5 of the paper."""
    targets, nots = [], []
    columns = kept(valid, student.tolist(), teacher.tolist(), target)
    for z_s, z_t, y in zip(*columns, strict=True):
        if y < 0:
            continue
        p_s = loop_softmax([z / temperature for z in z_s])
        p_t = loop_softmax([z / temperature for z in z_t])
        targets.append(divergence([p_t[y], 1 - p_t[y]], [p_s[y], 1 - p_s[y]]))
        rest_s, rest_t = ([q / (1 - p[y]) for i, q in enumerate(p) if i != y] for p in (p_s, p_t))
        nots.append(divergence(rest_t, rest_s))
    return temperature**2 * mean(targets), temperature**2 * mean(nots)


def test_closed_form():
    # T = 1, y = 0, no opinion in the student: p_s = 1/3 each.
    # The teacher's e^z = (2, 3/2, 1/2): p = (1/2, 3/8, 1/8), without y (3/4, 1/4).
    teacher = torch.tensor([[2.0, 1.5, 0.5]]).log()
    student, target = torch.zeros(1, 3), torch.tensor([0])
    of_target = 0.5 * math.log(0.5 / (1 / 3)) + 0.5 * math.log(0.5 / (2 / 3))
    of_rest = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    options = {"target": target, "temperature": 1.0}
    torch.testing.assert_close(tckd(student, teacher, **options), torch.tensor(of_target))
    torch.testing.assert_close(nckd(student, teacher, **options), torch.tensor(of_rest))
    value = dkd(student, teacher, target, alpha=2.0, beta=3.0, temperature=1.0)
    torch.testing.assert_close(value, torch.tensor(2 * of_target + 3 * of_rest))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", LABELS)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_twin(valid, target, temperature):
    student, teacher = 2 * rows64(6, 4), 3 * rows64(6, 4, seed=1)
    of_target, of_rest = twin(student, teacher, target, valid, temperature)
    rows = (student, teacher, torch.tensor(target), optional(valid))
    close(tckd(*rows, temperature), of_target)
    close(nckd(*rows, temperature), of_rest)
    close(dkd(*rows, 0.5, 2.0, temperature), 0.5 * of_target + 2 * of_rest)


def test_gradcheck():
    target, valid = torch.tensor([0, 1, -1, 2]), torch.tensor([True, False, True, True])
    gradcheck(lambda s, t: dkd(s, t, target, valid), rows64(4, 3), rows64(4, 3, seed=1))


def test_equation_6_puts_kd_together_again():
    student, teacher, target = rows64(1, 5), 2 * rows64(1, 5, seed=1), torch.tensor([3])
    unsure = 1 - (teacher / 4).softmax(dim=1)[0, 3]
    together = tckd(student, teacher, target) + unsure * nckd(student, teacher, target)
    torch.testing.assert_close(together, kd(student, teacher))


def test_two_classes_leave_kd():
    student, teacher, target = rows64(5, 2), rows64(5, 2, seed=1), torch.tensor([0, 1, 1, 0, 1])
    torch.testing.assert_close(tckd(student, teacher, target), kd(student, teacher))
    for loss in (dkd, nckd):
        with pytest.raises(ValueError, match=r"3 classes or more, got 2: .* NCKD is always 0"):
            loss(student, teacher, target)
    with pytest.raises(ValueError, match="2 classes or more, got 1"):
        tckd(student[:, :1], teacher[:, :1], torch.zeros(5, dtype=torch.int64))


def test_nckd_ignores_the_target_logit_and_tckd_how_the_rest_is_shared():
    student, teacher, target = rows64(2, 3), rows64(2, 3, seed=1), torch.tensor([0, 0])
    moved = student + torch.tensor([5.0, 0.0, 0.0])
    torch.testing.assert_close(nckd(moved, teacher, target), nckd(student, teacher, target))
    swapped = student[:, [0, 2, 1]]
    torch.testing.assert_close(tckd(swapped, teacher, target), tckd(student, teacher, target))


def test_saturated_logits_are_exact():
    # T = 1: the teacher says y for certain and the student does so with p(y) = e^-2e4, then both
    # see all of the rest in one class, but not the same one.
    teacher = torch.tensor([[1e4, 0.0, -1e4]])
    student = torch.tensor([[-1e4, -1e4, 1e4]], requires_grad=True)
    target = torch.tensor([0])
    of_target = tckd(student, teacher, target, temperature=1.0)
    of_rest = nckd(student, teacher, target, temperature=1.0)
    torch.testing.assert_close(of_target, torch.tensor(2e4))
    torch.testing.assert_close(of_rest, torch.tensor(2e4))
    (of_target + of_rest).backward()
    torch.testing.assert_close(student.grad, torch.tensor([[-1.0, -1.0, 2.0]]))


def test_a_module_with_its_options():
    loss, batch = DKD(alpha=0.5, beta=2.0, temperature=3.0), random_batch()
    logits = (batch.student.logits, batch.teacher.logits, batch.target)
    expected = dkd(*logits, alpha=0.5, beta=2.0, temperature=3.0)
    torch.testing.assert_close(loss(batch.student, batch.teacher, batch.target), expected)
    assert DKD.recommended_warmup_epochs == 20


def test_options():
    with pytest.raises(ValueError, match="dkd: beta must be a finite number of at least 0"):
        DKD(beta=-1.0)
    with pytest.raises(ValueError, match="dkd: temperature must be a finite number above 0"):
        DKD(temperature=0.0)


def test_parity_with_scipy():
    target = torch.tensor([0, 3, 1, 2])
    hot = np.eye(4, dtype=bool)[target.numpy()]

    def theirs(student, teacher):
        p_s, p_t = softmax(student / 4, axis=1), softmax(teacher / 4, axis=1)
        pairs = [np.stack([p[hot], p[~hot].reshape(4, 3).sum(1)], axis=1) for p in (p_s, p_t)]
        rest = [softmax(z[~hot].reshape(4, 3) / 4, axis=1) for z in (student, teacher)]
        return 16 * (rel_entr(*pairs[::-1]).sum() + 8 * rel_entr(*rest[::-1]).sum()) / 4

    student, teacher = 4 * rows64(4, 4), 4 * rows64(4, 4, seed=1)
    agree_with_numpy(lambda s, t: dkd(s, t, target), theirs, student, teacher)
