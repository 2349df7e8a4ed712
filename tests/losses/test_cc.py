from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn.functional import normalize
from torchdistill.losses.mid_level import CCKDLoss

from tests.losses.batches import bound_loss, random_batch
from tests.losses.loops import MASKS, close, cosine, dot, gradcheck, kept, mean, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.cc import CC, cc, cc_official


def kernel(x, y, gamma, order):
    return sum(
        math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) * cosine(x, y) ** p
        for p in range(order + 1)
    )


def twin(student, teacher, valid, gamma, order):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    rows = range(len(student))
    return mean(
        [
            (
                kernel(student[i], student[j], gamma, order)
                - kernel(teacher[i], teacher[j], gamma, order)
            )
            ** 2
            for i in rows
            for j in rows
        ]
    )


def official_twin(student, teacher, valid):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    gaps = [
        [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
        for ours, theirs in zip(student, teacher, strict=True)
    ]
    return mean([dot(gap, following) for gap, following in itertools.pairwise(gaps)])


def test_closed_form():
    # γ = ½: K = e^-1 (1 + c + c²/2). Student at cosine 0, teacher at 1: each of two ordered pairs
    # differs by 1.5/e, the diagonal by nothing.
    student, teacher = torch.eye(2), torch.ones(2, 3)
    exact = 2 * (1.5 / math.e) ** 2 / 4
    torch.testing.assert_close(cc(student, teacher, gamma=0.5), torch.tensor(exact))
    # Gaps (1, 2), (3, 1), (0, 5): products 3 + 2 and 0 + 5.
    gaps = torch.tensor([[1.0, 2.0], [-3.0, 1.0], [0.0, -5.0]])
    torch.testing.assert_close(cc_official(gaps, torch.zeros(3, 2)), torch.tensor(5.0))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize(("gamma", "order"), [(0.4, 2), (0.7, 1), (0.4, 5)])
def test_twin(valid, gamma, order):
    student, teacher = rows64(6, 5), rows64(6, 3, seed=1)
    value = cc(student, teacher, optional(valid), gamma, order)
    close(value, twin(student, teacher, valid, gamma, order))


@pytest.mark.parametrize("valid", MASKS)
def test_official_twin(valid):
    student, teacher = rows64(6, 4), rows64(6, 4, seed=1)
    close(cc_official(student, teacher, optional(valid)), official_twin(student, teacher, valid))


def test_a_high_order_is_the_gaussian_kernel():
    student, teacher = rows64(6, 5), rows64(6, 3, seed=1)
    ours, theirs = (
        torch.exp(-0.4 * torch.cdist(x, x).square())
        for x in (normalize(student), normalize(teacher))
    )
    close(cc(student, teacher, order=20), (ours - theirs).square().mean().item())


def test_gradcheck():
    valid = torch.tensor([True, False, True, True])
    gradcheck(lambda s, t: cc(s, t, valid), rows64(4, 3), rows64(4, 2, seed=1))
    gradcheck(lambda s, t: cc_official(s, t, valid), rows64(4, 3), rows64(4, 3, seed=1))


def test_invariant_to_rotation_and_length_of_rows():
    teacher = rows64(6, 4)
    turn = torch.linalg.qr(rows64(4, 4, seed=2)).Q
    close(cc(rows64(6, 1, seed=3).abs() * (teacher @ turn), teacher), 0.0)


def test_the_largest_value_is_small():
    """Rows that are opposite for the student and equal for the teacher: what the docs say of it."""
    student = torch.tensor([[1.0], [-1.0]])
    pair = math.exp(-0.8) * (2 * 0.8)  # K(1) − K(−1): the odd power, twice
    value = cc(student, torch.ones(2, 1))
    torch.testing.assert_close(value, torch.tensor(2 * pair**2 / 4))
    assert pair**2 < 0.6


def test_official_depends_on_the_order_of_rows():
    student, teacher = rows64(6, 4), rows64(6, 4, seed=1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    mixed = cc_official(student[order], teacher[order])
    assert not torch.isclose(mixed, cc_official(student, teacher))


def test_official_is_an_option_and_needs_equal_widths():
    batch = random_batch()
    value = CC(official=True)(batch.student, batch.teacher)
    exact = cc_official(batch.student.embedding, batch.teacher.embedding)
    torch.testing.assert_close(value, exact)
    batch = random_batch(teacher_dim=5)
    with pytest.raises(ValueError, match=r"one width, got 8 \(student\) and 5 \(teacher\)"):
        bound_loss("cc", teacher_dim=5, official=True)(batch.student, batch.teacher)


@pytest.mark.parametrize("options", [{"gamma": 0.0}, {"order": 0}])
def test_options_that_make_no_kernel(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be a .* number .*, got 0"):
        CC(**options)


def test_options_reach_the_formula():
    batch = random_batch()
    s, t = batch.student.embedding, batch.teacher.embedding
    value = CC(gamma=0.7, order=3)(batch.student, batch.teacher)
    torch.testing.assert_close(value, cc(s, t, gamma=0.7, order=3))
    torch.testing.assert_close(CC()(batch.student, batch.teacher), cc(s, t, gamma=0.4, order=2))


def test_parity_with_torchdistill():
    """Theirs leaves rows as they are, and divides the norm by B², where the paper squares it."""
    config = {"type": "gaussian", "gamma": 0.4, "max_p": 2}
    loss = CCKDLoss("s", "t", config, "none")

    def theirs(s, t):
        norm = loss({"s": {"output": normalize(s)}}, {"t": {"output": normalize(t)}})
        return (norm / len(s)) ** 2

    agree(cc, theirs, rows64(7, 5), rows64(7, 3, seed=1))
