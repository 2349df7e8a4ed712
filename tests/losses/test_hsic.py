from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel as sklearn_rbf

from tests.losses.batches import bound_loss, fresh_step, random_batch, step
from tests.losses.loops import MASKS, close, dot, gradcheck, kept, norm, optional, rows64
from xdistill.losses.hsic import HSIC, hsic, linear_kernel, normalised_hsic, rbf_kernel
from xdistill.losses.parts.masking import row_mask
from xdistill.types import Outputs


def kernels(rows, kernel, bandwidth):
    if kernel == "linear":
        return [[dot(a, b) for b in rows] for a in rows]
    apart = [[norm([x - y for x, y in zip(a, b, strict=True)]) for b in rows] for a in rows]
    pairs = [d for i, line in enumerate(apart) for j, d in enumerate(line) if i != j]
    sigma = bandwidth or statistics.median_low(pairs)
    return [[math.exp(-((d / sigma) ** 2) / 2) for d in line] for line in apart]


def trace(k, m):
    """tr(KHLH), four nested sums."""
    rows = range(len(k))
    h = [[(i == j) - 1 / len(k) for j in rows] for i in rows]
    return sum(
        k[a][b] * h[b][c] * m[c][d] * h[d][a] for a, b, c, d in itertools.product(rows, repeat=4)
    )


def twin(student, teacher, valid, kernel, bandwidth, normalised):
    sides = kept(valid, student.tolist(), teacher.tolist())
    k, m = (kernels(rows, kernel, bandwidth) for rows in sides)
    if normalised:
        return 1 - trace(k, m) / math.sqrt(trace(k, k) * trace(m, m))
    return -trace(k, m) / (len(k) - 1) ** 2


def value_of(loss, student, teacher, valid=None):
    return loss(Outputs(student), Outputs(teacher), valid=valid)


def test_closed_form():
    # Centred kernels of two rows at distance d: ±(1 − e^(−d²/2))/2; the trace is four products.
    student, teacher = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    valid = torch.ones(2, dtype=torch.bool)
    k, m = rbf_kernel(student, valid, 1.0), rbf_kernel(teacher, valid, 1.0)
    exact = (1 - math.exp(-0.5)) * (1 - math.exp(-2.0))
    torch.testing.assert_close(hsic(k, m), torch.tensor(exact))
    torch.testing.assert_close(normalised_hsic(k, m), torch.tensor(1.0))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize(("kernel", "bandwidth"), [("rbf", None), ("rbf", 2.0), ("linear", None)])
def test_twin(valid, kernel, bandwidth, normalised):
    student, teacher = rows64(6, 5), rows64(6, 3, seed=1)
    value = value_of(HSIC(kernel, bandwidth, normalised), student, teacher, optional(valid))
    close(value, twin(student, teacher, valid, kernel, bandwidth, normalised))


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize(("kernel", "bandwidth"), [("rbf", 2.0), ("linear", None)])
def test_gradcheck(kernel, bandwidth, normalised):
    """With a given bandwidth: the median is a constant on purpose."""
    valid, teacher = torch.tensor([True, False, True, True]), rows64(4, 2, seed=1)
    loss = HSIC(kernel, bandwidth, normalised)
    gradcheck(lambda s: value_of(loss, s, teacher, valid), rows64(4, 3))


def test_no_gradient_through_the_bandwidth():
    """With the median as it is, the gradient is that of a kernel of that fixed width."""
    x = rows64(6, 3).requires_grad_()
    keep = row_mask(None, x)
    distance = torch.cdist(x, x).detach()
    sigma = distance[~torch.eye(6, dtype=torch.bool)].median().item()
    (free,) = torch.autograd.grad(rbf_kernel(x, keep).square().sum(), x)
    (fixed,) = torch.autograd.grad(rbf_kernel(x, keep, sigma).square().sum(), x)
    torch.testing.assert_close(free, fixed)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_between_zero_and_one_and_blind_to_rotation_shift_and_scale(kernel):
    teacher = rows64(6, 4)
    turn = torch.linalg.qr(rows64(4, 4, seed=2)).Q
    close(value_of(HSIC(kernel), 1e-3 * teacher @ turn + 3, teacher), 0.0)
    assert 0.1 < value_of(HSIC(kernel), rows64(6, 5, seed=3), teacher) < 1


def test_rbf_sees_what_linear_does_not():
    """A square depends on its root, but is not correlated with it."""
    root = torch.linspace(-1, 1, 21, dtype=torch.float64)[:, None]
    close(value_of(HSIC("linear"), root.square(), root), 1.0)
    assert value_of(HSIC("rbf"), root.square(), root) < 0.9


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_rows_that_do_not_vary_show_no_dependence(kernel):
    batch = random_batch()
    equal = batch.student.with_embedding(batch.student.embedding[:1].expand(6, -1))
    result = step(bound_loss("hsic", kernel=kernel), batch.change(student=equal))
    torch.testing.assert_close(result.value, torch.tensor(1.0))


def test_a_common_offset_costs_no_digits():
    student, teacher = rows64(6, 5), rows64(6, 3, seed=1)
    for kernel in ("rbf", "linear"):
        exact = value_of(HSIC(kernel), student, teacher)
        value = value_of(HSIC(kernel), (student + 100).float(), (teacher - 100).float())
        torch.testing.assert_close(value.double(), exact, rtol=1e-4, atol=1e-4)


def test_one_row_is_zero():
    result = fresh_step(bound_loss("hsic"), random_batch(rows=1))
    assert result.value == 0
    assert not result.embedding.any()


def test_more_than_half_of_the_distances_are_zero():
    """The median would be 0; the mean of the distances takes its place."""
    x = torch.tensor([[0.0], [0.0], [0.0], [0.0], [1.0]], dtype=torch.float64)
    kernel = rbf_kernel(x, row_mask(None, x))
    close(kernel[0, 4], math.exp(-0.5 / (8 / 20) ** 2))


def test_all_finite_when_not_normalised():
    for kernel in ("rbf", "linear"):
        for scale in (0.0, 1e-20, 1e4):
            batch = random_batch()
            student, teacher = (
                one.with_embedding(scale * one.embedding) for one in (batch.student, batch.teacher)
            )
            loss = bound_loss("hsic", kernel=kernel, normalised=False)
            result = step(loss, batch.change(student=student, teacher=teacher))
            assert all(torch.isfinite(tensor).all() for tensor in result.tensors().values())


def test_options_that_make_no_kernel():
    with pytest.raises(ValueError, match="kernel must be"):
        HSIC("cosine")  # type: ignore
    for kernel, bandwidth in (("linear", 1.0), ("rbf", 0.0)):
        with pytest.raises(ValueError, match=f"got {bandwidth} with kernel='{kernel}'"):
            HSIC(kernel, bandwidth)


def test_parity_with_numpy_and_sklearn():
    student, teacher = rows64(8, 5).numpy(), rows64(8, 3, seed=1).numpy()
    k, m = sklearn_rbf(student, gamma=0.1), sklearn_rbf(teacher, gamma=0.1)
    h = np.eye(8) - 1 / 8
    exact = np.trace(k @ h @ m @ h) / 49
    sigma = math.sqrt(1 / 0.2)
    value = value_of(
        HSIC("rbf", sigma, normalised=False), torch.tensor(student), torch.tensor(teacher)
    )
    close(value, float(-exact))
    # Linear CKA of centred columns: ‖YᵀX‖²/(‖XᵀX‖·‖YᵀY‖).
    x, y = student - student.mean(0), teacher - teacher.mean(0)
    cka = np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    close(value_of(HSIC("linear"), torch.tensor(student), torch.tensor(teacher)), float(1 - cka))
    torch.testing.assert_close(
        linear_kernel(torch.tensor(x), row_mask(None, torch.tensor(x))), torch.tensor(x @ x.T)
    )
