from __future__ import annotations

import math

import pytest
import torch
from torchdistill.losses.mid_level import LogitStdKDLoss

from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.parity import agree
from xdistill.losses.kd import kd
from xdistill.losses.lskd import LSKD, lskd, standardise


def z_score(row, ddof):
    middle = mean(row)
    deviation = math.sqrt(sum((z - middle) ** 2 for z in row) / (len(row) - ddof))
    return [(z - middle) / deviation for z in row]


def twin(student, teacher, valid, temperature, ddof):
    values = []
    for z_s, z_t in zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True):
        p_s = softmax([z / temperature for z in z_score(z_s, ddof)])
        p_t = softmax([z / temperature for z in z_score(z_t, ddof)])
        values.append(sum(t * math.log(t / s) for s, t in zip(p_s, p_t, strict=True)))
    return temperature**2 * mean(values)


def test_closed_form():
    # Two logits become 1 and −1 whatever they are; T = 2 makes their softmax σ(1), σ(−1).
    # Opposite opinions: KL = (2σ(1) − 1)·(log σ(1) − log σ(−1)) = tanh(1/2)·1, times T² = 4.
    value = lskd(torch.tensor([[0.0, 5.0]]), torch.tensor([[0.3, 0.1]]))
    torch.testing.assert_close(value, torch.tensor(4 * math.tanh(0.5)))


def test_toy_case_of_the_paper():
    """Its Figure 2 prints z-scores, which the code made: 3/√(20/3) = 1.162 for (−3, 3, 1, −1)."""
    logits = torch.tensor([[-3.0, 3.0, 1.0, -1.0]])
    printed = torch.tensor([[-1.162, 1.162, 0.387, -0.387]])
    torch.testing.assert_close(standardise(logits, official=True), printed, atol=5e-4, rtol=0)
    torch.testing.assert_close(standardise(logits), logits / math.sqrt(5))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("official", [False, True])
def test_twin(valid, temperature, official):
    student, teacher = 5 * rows64(6, 4), rows64(6, 4, seed=1)
    close(
        lskd(student, teacher, optional(valid), temperature, official=official),
        twin(student, teacher, valid, temperature, int(official)),
    )


@pytest.mark.parametrize("official", [False, True])
def test_gradcheck(official):
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: lskd(s, t, valid, official=official), rows64(3, 4), rows64(3, 4, seed=1))


def test_shift_and_scale_do_not_matter():
    student, teacher = rows64(5, 4), rows64(5, 4, seed=1)
    close(lskd(0.01 * student + 7, 30 * teacher - 2), lskd(student, teacher).item())
    close(lskd(0.01 * teacher + 7, teacher), 0.0)


def test_z_scores_have_mean_0_deviation_1_and_the_papers_bound():
    z = standardise(rows64(5, 4))
    torch.testing.assert_close(z.mean(dim=1), torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(z.var(dim=1, correction=0), torch.ones(5, dtype=torch.float64))
    peak = standardise(torch.eye(4, dtype=torch.float64)[:1])
    close(peak.max(), math.sqrt(3))


def test_official_is_a_higher_temperature():
    student, teacher = rows64(5, 4), rows64(5, 4, seed=1)
    higher = 2 * math.sqrt(4 / 3)
    close(
        lskd(student, teacher, official=True),
        lskd(student, teacher, temperature=higher).item() * 3 / 4,
    )


def test_equal_logits_get_a_gradient_of_ordinary_size():
    """Not 1/eps = 1e7: they are the first output of a head of zeros."""
    flat, teacher = torch.zeros(1, 4, requires_grad=True), torch.tensor([[9.0, 0.0, 0.0, 0.0]])
    value = lskd(flat, teacher)
    (gradient,) = torch.autograd.grad(value, flat)
    torch.testing.assert_close(value, kd(torch.zeros(1, 4), standardise(teacher), temperature=2.0))
    assert 0.1 < gradient.abs().max() < 2


@pytest.mark.parametrize("size", [1e4, 1e-12])
def test_finite_for_extreme_logits(size):
    student = (size * torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])).requires_grad_()
    value = lskd(student, size * torch.tensor([[-1.0, 1.0, -1.0], [1.0, 1.0, -1.0]]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_one_class_is_zero():
    close(lskd(rows64(3, 1), rows64(3, 1, seed=1), official=True), 0.0)


def test_options():
    loss = LSKD(temperature=3.0, official=True)
    assert (loss.temperature, loss.official, LSKD.recommended_weight) == (3.0, True, 9.0)
    for bad in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match=r"lskd: temperature must be .* above 0"):
            LSKD(temperature=bad)
    with pytest.raises(ValueError, match="lskd: eps must be"):
        LSKD(eps=0.0)


def test_parity_with_torchdistill():
    """It has the public code's variance, and leaves T² to its sum with a cross-entropy."""
    reference = LogitStdKDLoss("", "z", "", "z", temperature=2.0, alpha=0)

    def theirs(student, teacher):
        return 2.0**2 * reference({"": {"z": student}}, {"": {"z": teacher}})

    student, teacher = 4 * rows64(6, 5), rows64(6, 5, seed=1)
    agree(lambda s, t: lskd(s, t, official=True), theirs, student, teacher)
