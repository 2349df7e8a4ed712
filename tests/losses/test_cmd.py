from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from tests.losses.batches import bound_loss, random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, norm, optional, rows64
from xdistill.losses.cmd import CMD, cmd


def moment(column, k):
    centre = mean(column)
    return centre if k == 1 else mean([(x - centre) ** k for x in column])


def twin(student, teacher, valid, moments, a, b):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    columns = list(zip(zip(*student, strict=True), zip(*teacher, strict=True), strict=True))
    total = 0.0
    for k in range(1, moments + 1):
        gaps = [moment(list(ours), k) - moment(list(theirs), k) for ours, theirs in columns]
        total += norm(gaps) / (b - a) ** k
    return total


def test_closed_form():
    # Column 1: 0 and 1 against 0 and 0: means differ by 1/2, variances by 1/4, third moments by 0.
    # Column 2 is the same on both sides.
    student = torch.tensor([[0.0, 0.3], [1.0, 0.7]])
    teacher = torch.tensor([[0.0, 0.3], [0.0, 0.7]])
    value = cmd(student, teacher, moments=3, bounds=(0.0, 1.0))
    torch.testing.assert_close(value, torch.tensor(0.5 + 0.25))
    # Twice the width halves the first term and quarters the second.
    value = cmd(student, teacher, moments=3, bounds=(-1.0, 1.0))
    torch.testing.assert_close(value, torch.tensor(0.25 + 0.0625))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("moments", [1, 2, 5])
def test_twin(valid, moments):
    student, teacher = rows64(6, 4), 2 * rows64(6, 4, seed=1)
    value = cmd(student, teacher, optional(valid), moments, (-3.0, 5.0))
    close(value, twin(student, teacher, valid, moments, -3.0, 5.0))
    value = cmd(student, teacher, optional(valid), moments)
    close(value, twin(student.sigmoid(), teacher.sigmoid(), valid, moments, 0.0, 1.0))


@pytest.mark.parametrize("bounds", [None, (-2.0, 3.0)])
def test_gradcheck(bounds):
    valid = torch.tensor([True, False, True, True])
    gradcheck(lambda s, t: cmd(s, t, valid, 5, bounds), rows64(4, 3), rows64(4, 3, seed=1))


def test_rows_are_not_paired():
    student, teacher = rows64(6, 4), rows64(6, 4, seed=1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    close(cmd(student[order], teacher), cmd(student, teacher).item())


def test_zero_with_a_gradient_of_zero_for_equal_distributions():
    teacher = rows64(6, 4)
    student = teacher.clone().requires_grad_()
    value = cmd(student, teacher)
    value.backward()
    assert value == 0
    assert not student.grad.any()


def test_bounds_only_scale_the_terms():
    """Moving rows and bounds together changes nothing."""
    student, teacher = rows64(6, 4), rows64(6, 4, seed=1)
    value = cmd(student, teacher, bounds=(-3.0, 3.0))
    close(cmd(10 * student + 7, 10 * teacher + 7, bounds=(-23.0, 37.0)), value.item())


def test_only_the_student_is_projected():
    loss = bound_loss("cmd", teacher_dim=5)
    assert isinstance(loss.student_projector, nn.Linear)
    assert not list(loss.teacher_projector.parameters())
    assert bound_loss("cmd").student_projector is None


def test_options_reach_the_formula():
    batch = random_batch()
    s, t = batch.student.embedding, batch.teacher.embedding
    value = CMD(moments=3, bounds=(-4.0, 4.0))(batch.student, batch.teacher)
    torch.testing.assert_close(value, cmd(s, t, None, 3, (-4.0, 4.0)))
    torch.testing.assert_close(CMD()(batch.student, batch.teacher), cmd(s, t, None, 5))


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="moments must be a whole number of at least 1, got 0"):
        CMD(moments=0)
    with pytest.raises(ValueError, match=r"a < b, got \(1.0, 1.0\)"):
        CMD(bounds=(1.0, 1.0))


def test_parity_with_scipy():
    student, teacher = rows64(9, 4), rows64(9, 4, seed=1)
    a, b = -4.0, 4.0
    exact = np.linalg.norm(student.numpy().mean(0) - teacher.numpy().mean(0)) / (b - a)
    for k in range(2, 6):
        ours, theirs = (scipy.stats.moment(x.numpy(), k, axis=0) for x in (student, teacher))
        exact += np.linalg.norm(ours - theirs) / (b - a) ** k
    close(cmd(student, teacher, bounds=(a, b)), float(exact))
