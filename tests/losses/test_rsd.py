from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.losses.batches import bound_loss, call, random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.rsd import RSD, rsd


def correlation(a, b):
    a, b = [x - mean(a) for x in a], [x - mean(b) for x in b]
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(
        sum(x * x for x in a) * sum(y * y for y in b)
    )


def twin(student, teacher, valid, kappa):
    ours, theirs = (
        list(zip(*rows, strict=True)) for rows in kept(valid, student.tolist(), teacher.tolist())
    )
    values = []
    for i, t in enumerate(theirs):
        row = [correlation(t, s) for s in ours]
        values.append(sum((1 - c) ** 2 if j == i else kappa * c**2 for j, c in enumerate(row)))
    return mean(values)


def test_closed_form():
    # Feature 1 of both sides agrees; the student's feature 2 repeats it, the teacher's is
    # uncorrelated with it: C = ((1, 1), (0, 0)).
    up, across = [1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]
    student, teacher = torch.tensor([up, up]).T, torch.tensor([up, across]).T
    value = rsd(3 * student + 5, teacher, kappa=0.25)
    torch.testing.assert_close(value, torch.tensor((0.25 + 1) / 2))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("kappa", [0.0, 0.01, 1.0])
def test_twin(valid, kappa):
    student, teacher = rows64(6, 3), rows64(6, 3, seed=1)
    close(rsd(student, teacher, optional(valid), kappa), twin(student, teacher, valid, kappa))


def test_gradcheck():
    valid = torch.tensor([True, False, True, True, True])
    gradcheck(lambda s, t: rsd(s, t, valid, 0.5), rows64(5, 3), rows64(5, 3, seed=1))


def test_zero_for_a_student_that_is_the_teacher_up_to_scale_and_offset_of_each_feature():
    orthogonal = torch.linalg.qr(rows64(8, 4) - rows64(8, 4).mean(0)).Q  # centred, uncorrelated
    orthogonal = orthogonal - orthogonal.mean(0)
    scaled = orthogonal * torch.tensor([1.0, 2.0, 30.0, 0.4]) + 7
    close(rsd(scaled, orthogonal, kappa=0.0), 0.0)


def test_constant_features():
    student, teacher = rows64(6, 3), rows64(6, 3, seed=1)
    teacher[:, 1] = 4.0
    values = []
    for seed in (2, 3):  # what the student says there against itself does not matter, only others
        teacher[:, 1] = seed
        values.append(rsd(student, teacher))
    torch.testing.assert_close(*values)
    close(rsd(student, torch.ones(6, 3).double()), 0.0)
    close(rsd(torch.ones(6, 3).double(), teacher), 1.0)  # no correlation with anything


def test_the_adapter_is_made_by_bind_and_asked_for_without():
    batch = random_batch(student_dim=8, teacher_dim=5)
    loss = bound_loss("rsd", 8, 5)
    assert {name for name, _ in loss.named_parameters()} == {"adapter.weight", "adapter.bias"}
    expected = rsd(loss.adapter(batch.student.embedding), batch.teacher.embedding)
    torch.testing.assert_close(call(loss, batch), expected)
    with pytest.raises(ValueError, match=r"got 8 \(student\) and 5 \(teacher\); call loss.bind"):
        call(RSD(), batch)
    with pytest.raises(ValueError, match="kappa must be a finite number of at least 0"):
        RSD(kappa=math.nan)


def test_parity_with_numpy():
    def theirs(student, teacher):
        wide = np.corrcoef(teacher, student, rowvar=False)[:3, 3:]
        off = ~np.eye(3, dtype=bool)
        return (np.diag(1 - wide) ** 2 + 0.01 * np.where(off, wide**2, 0).sum(1)).mean()

    agree_with_numpy(rsd, theirs, rows64(6, 3), rows64(6, 3, seed=1))
