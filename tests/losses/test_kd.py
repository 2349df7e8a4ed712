from __future__ import annotations

import math

import pytest
import torch
from torchdistill.losses.mid_level import KDLoss

from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.parity import agree
from xdistill.losses.jeffreys import Jeffreys
from xdistill.losses.jsd import JSD
from xdistill.losses.kd import KD, kd


def twin(student, teacher, valid, temperature):
    values = []
    for z_s, z_t in zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True):
        p_s = softmax([z / temperature for z in z_s])
        p_t = softmax([z / temperature for z in z_t])
        values.append(sum(t * math.log(t / s) for s, t in zip(p_s, p_t, strict=True)))
    return temperature**2 * mean(values)


def test_closed_form():
    # T = 2: the teacher says 3/4 to 1/4, the student is undecided.
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    value = kd(torch.zeros(1, 2), teacher, temperature=2.0)
    exact = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    torch.testing.assert_close(value, torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_twin(valid, temperature):
    student, teacher = rows64(6, 4), 3 * rows64(6, 4, seed=1)
    close(
        kd(student, teacher, optional(valid), temperature),
        twin(student, teacher, valid, temperature),
    )


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: kd(s, t, valid), rows64(3, 4), rows64(3, 4, seed=1))


def test_zero_when_the_student_agrees_up_to_a_constant():
    logits = rows64(5, 3)
    close(kd(logits + 7, logits), 0.0)


def test_gradient_keeps_its_size_when_the_temperature_grows():
    """Hinton et al., section 2.1: in the limit it is that of (z_s − z_t)² / 2K for centred z."""
    student, teacher = rows64(5, 3), rows64(5, 3, seed=1)
    student, teacher = (z - z.mean(1, keepdim=True) for z in (student, teacher))
    student.requires_grad_()
    kd(student, teacher, temperature=1e6).backward()
    limit = (student.detach() - teacher) / 3 / 5
    torch.testing.assert_close(student.grad, limit, rtol=1e-4, atol=1e-6)


def test_recommended_weight():
    assert KD().temperature == 4.0
    assert KD.recommended_weight == 0.9


def test_parity_with_torchdistill():
    """It leaves T² to its sum with a cross-entropy."""
    reference = KDLoss("", "z", "", "z", temperature=4.0, alpha=0)

    def theirs(student, teacher):
        return 4.0**2 * reference({"": {"z": student}}, {"": {"z": teacher}})

    agree(kd, theirs, 3 * rows64(6, 5), 3 * rows64(6, 5, seed=1))


@pytest.mark.parametrize("kind", [KD, JSD, Jeffreys])
@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf])
def test_a_temperature_is_a_finite_number_above_zero(kind, temperature):
    with pytest.raises(ValueError, match=f"temperature must be a finite number .* {temperature}"):
        kind(temperature=temperature)
