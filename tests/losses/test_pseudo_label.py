import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.losses.loops import close, gradcheck, mean, rows64, softmax
from xdistill.losses.cross_entropy import cross_entropy
from xdistill.losses.pseudo_label import PseudoLabel, pseudo_label
from xdistill.types import Outputs


def twin(student, teacher, target, valid, threshold, hard=True):
    values = []
    for z_s, z_t, y, there in zip(student, teacher, target, valid, strict=True):
        if there and y < 0:
            p_t = softmax(z_t)
            place = p_t.index(max(p_t))
            counted = [k == place for k in range(len(p_t))] if hard else p_t
            value = -sum(p * math.log(q) for p, q in zip(counted, softmax(z_s), strict=True))
            values.append(value if p_t[place] >= threshold else 0.0)
    return mean(values) if values else 0.0


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(2, 5),
    st.sampled_from([0.0, 0.4, 0.7]),
    st.booleans(),
    st.integers(0, 99),
)
def test_it_equals_loops_over_rows(rows, classes, threshold, hard, seed):
    torch.manual_seed(seed)
    student, teacher = torch.randn(2, rows, classes, dtype=torch.float64)
    target, valid = torch.randint(-1, classes, (rows,)), torch.rand(rows) > 0.3
    lists = (one.tolist() for one in (student, teacher, target, valid))
    expected = twin(*lists, threshold, hard)
    close(pseudo_label(student, teacher, target, valid, threshold, hard), expected)


def test_it_is_the_cross_entropy_with_the_teachers_classes():
    student, teacher = torch.randn(2, 6, 4)
    torch.testing.assert_close(
        pseudo_label(student, teacher), cross_entropy(student, teacher.argmax(dim=1))
    )


def test_labelled_rows_are_the_tasks():
    student, teacher = torch.randn(2, 3, 4)
    target = torch.tensor([0, -1, 2])
    only = pseudo_label(student[1:2], teacher[1:2])
    torch.testing.assert_close(pseudo_label(student, teacher, target), only)
    assert float(pseudo_label(student, teacher, torch.tensor([0, 1, 2]))) == 0


def test_the_size_of_the_teachers_logits_changes_nothing_but_its_confidence():
    student, teacher = torch.randn(2, 5, 3)
    torch.testing.assert_close(pseudo_label(student, 7 * teacher), pseudo_label(student, teacher))
    flat = torch.zeros(5, 3)
    assert float(pseudo_label(student, flat, threshold=0.5)) == 0


def test_probabilities_are_the_classes_of_a_teacher_that_is_sure():
    student, teacher = torch.randn(2, 6, 4)
    sure = 100.0 * torch.eye(4)[teacher.argmax(dim=1)]
    torch.testing.assert_close(
        pseudo_label(student, sure, hard=False), pseudo_label(student, teacher)
    )


def test_probabilities_are_met_where_the_student_has_the_same():
    """The gradient of the cross-entropy with p is softmax(z_s) − p, a row's share of the mean."""
    student, teacher = rows64(5, 3).requires_grad_(), rows64(5, 3)
    (same,) = torch.autograd.grad(pseudo_label(student, student.detach(), hard=False), student)
    torch.testing.assert_close(same, torch.zeros_like(same), rtol=0, atol=1e-15)
    (other,) = torch.autograd.grad(pseudo_label(student, teacher, hard=False), student)
    torch.testing.assert_close(other, (student.softmax(1) - teacher.softmax(1)) / 5)


@pytest.mark.parametrize("hard", [True, False])
def test_a_teacher_of_nan_is_no_class(hard):
    student, teacher = torch.randn(2, 3, 4)
    teacher[1, 2] = math.nan
    assert math.isnan(float(pseudo_label(student, teacher, hard=hard)))
    without = torch.tensor([True, False, True])
    masked = pseudo_label(student, teacher, valid=without, hard=hard)
    torch.testing.assert_close(masked, pseudo_label(student[::2], teacher[::2], hard=hard))
    labelled = pseudo_label(student, teacher, torch.tensor([-1, 2, -1]), hard=hard)
    torch.testing.assert_close(labelled, masked)


@pytest.mark.parametrize("hard", [True, False])
def test_gradient(hard):
    student, teacher = rows64(4, 3), rows64(4, 3)
    target = torch.tensor([-1, 1, -1, -1])
    gradcheck(lambda s: pseudo_label(s, teacher, target, hard=hard), student)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, math.nan])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(ValueError, match="from 0 to below 1"):
        PseudoLabel(threshold)


def test_a_student_that_follows_a_right_teacher_learns_without_labels():
    torch.manual_seed(0)
    x, y = torch.randn(64, 2), torch.arange(64) % 3
    x = x + 4 * torch.eye(3)[y][:, :2]
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    loss, teacher = PseudoLabel(), Outputs(x, 5 * torch.eye(3)[y])
    for _ in range(100):
        optimizer.zero_grad()
        loss(Outputs(x, model(x)), teacher, torch.full((64,), -1)).backward()
        optimizer.step()
    assert float((model(x).argmax(1) == y).float().mean()) > 0.8
