from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from scipy.special import softmax as scipy_softmax

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, dot, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.parity import agree
from xdistill.losses.mlkd import MLKD, correlations, mlkd


def gram_gap(a, b):
    pairs = [(i, j) for i in range(len(a)) for j in range(len(a))]
    return sum((dot(a[i], a[j]) - dot(b[i], b[j])) ** 2 for i, j in pairs)


def twin(student, teacher, valid, temperatures):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    values = []
    for temperature in temperatures:
        s, t = ([softmax([z / temperature for z in row]) for row in x] for x in (student, teacher))
        divergence = mean(
            [
                sum(q * math.log(q / p) for p, q in zip(a, b, strict=True))
                for a, b in zip(s, t, strict=True)
            ]
        )
        classes = gram_gap(*([list(column) for column in zip(*x, strict=True)] for x in (s, t)))
        values.append(temperature**2 * divergence + classes / len(s[0]) + gram_gap(s, t) / len(s))
    return mean(values)


def test_closed_form():
    # One row, K = 2: the student says ½ ½, the teacher ¾ ¼. The matrix of classes is
    # ppᵀ: entries 9/16, 3/16, 3/16, 1/16 against ¼: gaps 5, −1, −1, −3 sixteenths, squares 36/256.
    # That of the batch is pᵀp: 10/16 against 8/16, squared 4/256.
    teacher = torch.tensor([[math.log(3.0), 0.0]])
    value = correlations(torch.zeros(1, 2), teacher)
    torch.testing.assert_close(value, torch.tensor(36 / 256 / 2 + 4 / 256))
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    value = mlkd(torch.zeros(1, 2), teacher, temperatures=[1.0])
    torch.testing.assert_close(value, torch.tensor(kl + 22 / 256))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("temperatures", [(1.0,), (2.0, 3.0, 4.0, 5.0, 6.0)])
def test_twin(valid, temperatures):
    student, teacher = rows64(6, 4), 3 * rows64(6, 4, seed=1)
    value = mlkd(student, teacher, optional(valid), temperatures)
    close(value, twin(student, teacher, valid, temperatures))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: mlkd(s, t, valid), rows64(3, 4), rows64(3, 4, seed=1))


def test_parity_with_scipy():
    student, teacher = 2 * rows64(6, 4), 3 * rows64(6, 4, seed=1)
    total = 0.0
    for temperature in range(2, 7):
        s, t = (scipy_softmax(x.numpy() / temperature, axis=1) for x in (student, teacher))
        total += temperature**2 * rel_entr(t, s).sum(axis=1).mean()
        total += np.linalg.norm(t.T @ t - s.T @ s) ** 2 / 4
        total += np.linalg.norm(t @ t.T - s @ s.T) ** 2 / 6
    close(mlkd(student, teacher), total / 5)


def test_parity_of_the_gradient_with_written_out_matrices():
    def written_out(s, t):
        total = s.new_zeros(())
        for temperature in (2.0, 3.0, 4.0, 5.0, 6.0):
            p, q = (torch.softmax(x / temperature, 1) for x in (s, t))
            kl = torch.nn.functional.kl_div(p.log(), q, reduction="batchmean")
            classes = torch.einsum("bi,bj->ij", q, q) - torch.einsum("bi,bj->ij", p, p)
            batch = torch.einsum("bk,ck->bc", q, q) - torch.einsum("bk,ck->bc", p, p)
            total = total + temperature**2 * kl
            total = total + classes.pow(2).sum() / 5 + batch.pow(2).sum() / 7
        return total / 5

    agree(mlkd, written_out, rows64(7, 5), rows64(7, 5, seed=1))


def test_zero_when_the_student_agrees_up_to_a_constant():
    logits = rows64(5, 3)
    close(mlkd(logits + 7, logits), 0.0)


def test_invariant_to_the_order_of_the_classes():
    student, teacher, order = rows64(5, 4), rows64(5, 4, seed=1), torch.tensor([2, 0, 3, 1])
    close(mlkd(student[:, order], teacher[:, order]), mlkd(student, teacher).item())


def test_options():
    batch = random_batch()
    s, t = batch.student.logits, batch.teacher.logits
    value = MLKD([1.0, 4.0])(batch.student, batch.teacher)
    parts = (mlkd(s, t, temperatures=[1.0]), mlkd(s, t, temperatures=[4.0]))
    torch.testing.assert_close(value, (parts[0] + parts[1]) / 2)
    torch.testing.assert_close(MLKD()(batch.student, batch.teacher), mlkd(s, t))
    assert len(MLKD().temperatures) == MLKD.recommended_weight == 5
    for wrong in ([], [2.0, 0.0]):
        with pytest.raises(ValueError, match="one or more numbers above 0"):
            MLKD(wrong)
