from __future__ import annotations

import pytest
import torch
from torchdistill.losses.mid_level import DISTLoss
from torchmetrics.functional import pearson_corrcoef

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, norm, optional, rows64, softmax
from tests.losses.parity import agree
from xdistill.losses.dist import DIST, dist


def pearson(a, b):
    a, b = ([x - mean(v) for x in v] for v in (a, b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / (norm(a) * norm(b))


def twin(student, teacher, valid, beta, gamma, temperature):
    student, teacher = kept(valid, student.tolist(), teacher.tolist())
    ours, theirs = (
        [softmax([z / temperature for z in row]) for row in x] for x in (student, teacher)
    )
    rows = mean([1 - pearson(a, b) for a, b in zip(ours, theirs, strict=True)])
    ours, theirs = (list(zip(*x, strict=True)) for x in (ours, theirs))
    columns = [1 - pearson(a, b) for a, b in zip(ours, theirs, strict=True)]
    return temperature**2 * (beta * rows + gamma * mean(columns))


def official(student, teacher, temperature=1.0):
    loss = DISTLoss("s", "output", "t", "output", beta=1.5, gamma=0.5, tau=temperature)
    return loss({"s": {"output": student}}, {"t": {"output": teacher}})


def test_closed_form():
    # Probabilities ½ ¼ ¼ against ¼ ½ ¼: centred (2, −1, −1)/12 and (−1, 2, −1)/12, ρ = −3/6.
    student = torch.tensor([[0.5, 0.25, 0.25]]).log()
    teacher = torch.tensor([[0.25, 0.5, 0.25]]).log()
    torch.testing.assert_close(dist(student, teacher), torch.tensor(1.5))  # one row: no column


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_twin(valid, temperature):
    student, teacher = rows64(6, 4), 3 * rows64(6, 4, seed=1)
    options = (2.0, 0.5, temperature)
    value = dist(student, teacher, optional(valid), *options)
    close(value, twin(student, teacher, valid, *options))


def test_gradcheck():
    valid = torch.tensor([True, False, True, True])
    gradcheck(lambda s, t: dist(s, t, valid), rows64(4, 3), rows64(4, 3, seed=1))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_parity_with_torchdistill(temperature):
    agree(
        lambda s, t: dist(s, t, None, 1.5, 0.5, temperature),
        lambda s, t: official(s, t, temperature),
        rows64(7, 5),
        rows64(7, 5, seed=1),
    )


def test_parity_with_torchmetrics():
    student, teacher = rows64(7, 5), rows64(7, 5, seed=1)

    def by_metric(s, t):
        p, q = s.softmax(1), t.softmax(1)
        return 2 - pearson_corrcoef(p.T, q.T).mean() - pearson_corrcoef(p, q).mean()

    agree(dist, by_metric, student, teacher)


def test_zero_when_probabilities_are_a_line():
    """DIST asks for a relation, not for equal values: q = a·p + b is as good as q = p."""
    p = rows64(6, 4).softmax(1)
    close(dist(p.log(), (0.5 * p + 0.125).log()), 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["one row", "equal rows", "uniform", "one class"])
def test_constants_of_the_teacher_are_left_out(case, dtype):
    """A student that agrees has the loss 0 even where no correlation exists."""
    logits = {
        "one row": rows64(1, 4),
        "equal rows": rows64(1, 4).expand(6, 4),
        "uniform": torch.full((6, 4), 0.3),
        "one class": rows64(6, 1),
    }[case].to(dtype)
    student = logits.clone().requires_grad_()
    value = dist(student, logits)
    value.backward()
    torch.testing.assert_close(value.detach(), torch.zeros((), dtype=dtype), rtol=0, atol=1e-6)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("rows", [5, 6, 7, 31, 512])
def test_rounding_noise_is_no_correlation(rows):
    """The mean of equal numbers is not always that number."""
    equal, other = rows64(1, 40).float().expand(rows, 40), rows64(rows, 40, seed=1).float()
    assert dist(other, equal, beta=0.0) == 0
    assert dist(equal, other, beta=0.0) == 1
    assert dist(other.T, equal.T, gamma=0.0) == 0
    assert dist(equal.T, other.T, gamma=0.0) == 1


def test_a_constant_student_is_uncorrelated():
    student = torch.zeros(6, 4, dtype=torch.float64, requires_grad=True)
    value = dist(student, rows64(6, 4))
    value.backward()
    close(value.detach(), 2.0)
    assert not student.grad.any()


def test_official_code_counts_constants_of_the_teacher():
    logits = rows64(1, 4).expand(6, 4)
    close(dist(logits, logits, None, 1.5, 0.5), 0.0)
    close(official(logits, logits), 0.5)


def test_two_rows_have_columns_without_gradient():
    student = rows64(2, 4).requires_grad_()
    value = dist(student, rows64(2, 4, seed=1), beta=0.0)
    value.backward()
    signs = 4 * value.item() / 2  # each column is 0 or 2
    assert abs(signs - round(signs)) < 1e-9
    torch.testing.assert_close(student.grad, torch.zeros_like(student), rtol=0, atol=1e-9)


def test_options():
    batch = random_batch()
    s, t = batch.student.logits, batch.teacher.logits
    for options in ((1.0, 1.0, 1.0), (0.0, 2.0, 4.0), (3.0, 0.0, 2.0)):
        value = DIST(*options)(batch.student, batch.teacher)
        torch.testing.assert_close(value, dist(s, t, None, *options))
    torch.testing.assert_close(DIST()(batch.student, batch.teacher), dist(s, t))
    assert DIST.recommended_weight == 2.0
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got 0"):
        DIST(temperature=0.0)
