from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.losses.loops import MASKS, close, dot, gradcheck, kept, mean, optional, rows64
from xdistill.losses.cka import cka
from xdistill.losses.parts.centred_rows import centred_rows


def centred(x):
    means = [mean(column) for column in zip(*x, strict=True)]
    return [[value - m for value, m in zip(row, means, strict=True)] for row in x]


def twin(student, teacher, valid):
    s, t = (centred(x) for x in kept(valid, student.tolist(), teacher.tolist()))
    rows = range(len(s))
    cross = ours = theirs = 0.0
    for i in rows:
        for j in rows:
            k_s, k_t = dot(s[i], s[j]), dot(t[i], t[j])
            cross, ours, theirs = cross + k_s * k_t, ours + k_s**2, theirs + k_t**2
    return 1 - cross / (ours * theirs) ** 0.5


def test_closed_form():
    # Centred, the student is (−1, 0, 1) and the teacher (1, −2, 1)/3 · const: K_s has entries
    # 1, 0, −1 …, with ‖K_s‖ = 2, K_t = ttᵀ with ‖K_t‖ = ‖t‖² and ⟨K_s, K_t⟩ = (s·t)² = 0.
    line, bump = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [-3.0], [0.0]])
    torch.testing.assert_close(cka(line, bump), torch.tensor(1.0))
    # Both columns together: s·t = 0 leaves ⟨K_s, K_t⟩ = ‖s‖⁴, with ‖s‖² = 2 and ‖t‖² = 6:
    # CKA = 4 / (2 · √(4 + 36)) = 1 / √10.
    both = torch.cat([line, bump], dim=1)
    torch.testing.assert_close(cka(line, both), torch.tensor(1 - 10**-0.5))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    student, teacher = 3 + rows64(6, 5), rows64(6, 3, seed=1)
    close(cka(student, teacher, optional(valid)), twin(student, teacher, valid))


def test_parity_with_the_feature_space_formula():
    """Kornblith et al., eq. 4 by covariances D×E in place of Gram matrices B×B."""
    student, teacher = rows64(40, 5), rows64(40, 3, seed=1)
    teacher[:, :2] += student[:, :2]
    x, y = (z.numpy() - z.numpy().mean(0) for z in (student, teacher))
    cross, ours, theirs = (np.linalg.norm(m) for m in (y.T @ x, x.T @ x, y.T @ y))
    close(cka(student, teacher), 1 - cross**2 / (ours * theirs))


def test_gradcheck():
    valid = torch.tensor([True, False, True, True, True])
    gradcheck(lambda s, t: cka(s, t, valid), rows64(5, 3), rows64(5, 2, seed=1))


def test_invariant_to_motion_mirroring_and_scale_of_either_side():
    student, teacher = rows64(30, 4), rows64(30, 4, seed=1)
    turn = torch.linalg.qr(rows64(4, 4, seed=2)).Q
    close(cka(student, 7 - 3 * student @ turn), 0.0)
    value = float(cka(student, teacher))
    assert 0.1 < value < 0.99
    for scale in (1e-6, 1e4):
        close(cka(scale * student @ turn - 2 * scale, teacher), value)
        close(cka(student, scale * teacher @ turn + 5 * scale), value)


def test_a_linear_map_that_is_no_motion_is_seen():
    student = rows64(8, 4)
    assert cka(student * torch.tensor([1.0, 5.0, 0.1, 2.0]), student) > 0.01


def test_value_and_gradient_without_spread():
    spread, same = torch.randn(5, 3), torch.full((5, 3), 1234.567)
    tiny = 1e-20 * spread
    for student, teacher, expected in (
        (spread, same, 0.0),  # nothing to learn
        (same, same, 0.0),
        (same, spread, 1.0),  # nothing learned
        (tiny, spread, 1.0),
        (spread, tiny, 0.0),
        (spread[:1], spread[1:2], 0.0),
    ):
        student = student.clone().requires_grad_()
        value = cka(student, teacher)
        value.backward()
        torch.testing.assert_close(value, torch.tensor(expected))
        assert not student.grad.any()


def test_descent_brings_the_student_to_the_teachers_geometry():
    student, teacher = rows64(8, 5).requires_grad_(), rows64(8, 3, seed=1)
    optimizer = torch.optim.Adam([student], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        cka(student, teacher).backward()
        optimizer.step()
    assert cka(student, teacher) < 0.01


def test_centred_rows():
    x = torch.tensor([[1.0, 7.3], [3.0, 7.3], [float("nan"), 5.0], [8.0, 7.3]])
    keep = torch.tensor([True, True, False, True])
    exact = torch.tensor([[-3.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [4.0, 0.0]])
    torch.testing.assert_close(centred_rows(x, keep), exact, rtol=0, atol=0)
    assert not centred_rows(x, torch.zeros(4, dtype=torch.bool)).any()
    same = torch.full((10, 1), 1234.567)
    assert (same - same.mean(0)).any()  # the rounding error that must not be taken for a spread
    assert not centred_rows(same, torch.ones(10, dtype=torch.bool)).any()
