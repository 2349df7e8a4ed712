from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchdistill.losses.mid_level import SRDLoss

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.srd import EPS, SRD, batch_norm, srd


def normalised(x):
    columns = []
    for column in zip(*x, strict=True):
        m = mean(list(column))
        variance = mean([(value - m) ** 2 for value in column])
        columns.append([(value - m) / math.sqrt(variance + 1e-5) for value in column])
    return columns


def twin(student, teacher, valid, alpha, official):
    s, t = (normalised(x) for x in kept(valid, student.tolist(), teacher.tolist()))
    total = EPS
    for ours, theirs in zip(s, t, strict=True):
        if official:
            total += abs(1 - mean([a * b for a, b in zip(ours, theirs, strict=True)])) ** alpha
        else:
            total += sum(abs(a - b) ** alpha for a, b in zip(ours, theirs, strict=True))
    return math.log(total)


def test_closed_form():
    # Columns of two rows become ±1 (but for the 1e-5 beside a variance of 1e6): the first column
    # agrees, the second is mirrored, |1 − (−1)|⁴ twice: ln 32.
    student, teacher = (
        torch.tensor([[0.0, 2e3], [2e3, 0.0]]),
        torch.tensor([[0.0, 0.0], [4e3, 4e3]]),
    )
    torch.testing.assert_close(srd(student, teacher), torch.tensor(math.log(32.0)))
    # Correlations of 1 and −1: |1 − 1|⁴ + |1 + 1|⁴ = 16.
    torch.testing.assert_close(srd(student, teacher, official=True), torch.tensor(math.log(16.0)))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("alpha", [1.0, 4.0])
@pytest.mark.parametrize("official", [False, True])
def test_twin(valid, alpha, official):
    student, teacher = rows64(6, 4), 3 * rows64(6, 4, seed=1) + 2
    value = srd(student, teacher, optional(valid), alpha, official)
    close(value, twin(student, teacher, valid, alpha, official))


def test_gradcheck():
    valid = torch.tensor([True, False, True, True])
    for official in (False, True):

        def function(s, t, official=official):
            return srd(s, t, valid, official=official)

        gradcheck(function, rows64(4, 3), rows64(4, 3, seed=1))


def test_parity_with_torchdistill():
    """It adds a KL divergence of logits and doubles the term; its BatchNorm is torch's."""
    names = {
        f"{role}_{part}_module_{key}": value
        for role in ("student", "teacher")
        for part in ("feature", "linear")
        for key, value in (("path", part), ("io", "output"))
    }
    criterion = SRDLoss(**names, exponent=4.0)
    logits = {"output": torch.zeros(6, 3, dtype=torch.float64)}

    def reference(student, teacher):
        sides = [
            {"feature": {"output": F.batch_norm(x, None, None, training=True)}, "linear": logits}
            for x in (student, teacher)
        ]
        return criterion(*sides) / 2

    agree(srd, reference, 3 * rows64(6, 5), rows64(6, 5, seed=1))


def test_parity_of_official_with_the_correlation_of_columns():
    student, teacher = rows64(30, 4), rows64(30, 4, seed=1)
    matrix = np.corrcoef(student.numpy(), teacher.numpy(), rowvar=False)
    exact = math.log((np.abs(1 - np.diag(matrix[:4, 4:])) ** 4).sum())
    # theirs has no 1e-5 beside the variance
    torch.testing.assert_close(
        float(srd(student, teacher, official=True)), exact, rtol=1e-4, atol=1e-4
    )


def test_batch_norm_is_torchs_over_the_rows_that_count():
    x, keep = rows64(6, 4), torch.tensor([True, False, True, True, False, True])
    exact = F.batch_norm(x[keep], None, None, training=True)
    torch.testing.assert_close(batch_norm(x, keep)[keep], exact)
    assert not batch_norm(x, keep)[~keep].any()


def test_invariant_to_offset_and_scale_of_a_column():
    student, teacher = 1e3 * rows64(6, 4), 1e3 * rows64(6, 4, seed=1)
    factors = torch.tensor([1.0, 10.0, 2.0, 5.0])
    torch.testing.assert_close(srd(factors * student + 7, teacher), srd(student, teacher))


def test_equal_sides_and_equal_rows_are_finite():
    x = torch.randn(5, 3)
    single, same = x[:1], torch.full((5, 3), 1e4 / 7)
    for student, teacher in ((x, x), (single, single + 1), (same, same + 3)):
        student = student.clone().requires_grad_()
        value = srd(student, teacher)
        value.backward()
        torch.testing.assert_close(value, torch.tensor(math.log(EPS)))
        assert not student.grad.any()


def test_options_and_errors():
    batch = random_batch(teacher_dim=5)
    with pytest.raises(ValueError, match="bind"):
        SRD()(batch.student, batch.teacher)
    with pytest.raises(ValueError, match="alpha must be at least 1"):
        SRD(alpha=0.5)
    loss = SRD(alpha=2.0, official=True, student_dim=8, teacher_dim=5)
    projector = loss.projector
    assert loss.bind(8, 5).projector is projector
    ours = projector(batch.student.embedding)
    exact = srd(ours, batch.teacher.embedding, None, 2.0, True)
    torch.testing.assert_close(loss(batch.student, batch.teacher), exact)
    assert SRD().bind(8, 8).projector is not None  # the paper projects between equal widths too
    torch.testing.assert_close(
        loss.eval()(batch.student, batch.teacher), loss.train()(batch.student, batch.teacher)
    )
