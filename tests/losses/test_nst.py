from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.preprocessing import normalize

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, dot, gradcheck, kept, mean, norm, optional, rows64
from xdistill.losses.nst import NST, mean_kernel, nst
from xdistill.types import Outputs

SHAPES = [((3, 7), (5, 7)), ((4, 3), (6, 3)), ((3, 4), (6, 4)), ((2, 3, 2), (5, 3, 2))]


def twin(student, teacher, valid):
    """The squared MMD with k(x, y) = (xᵀy)², in loops over pairs of channels."""
    values = []
    for s, t in zip(*kept(valid, list(student), list(teacher)), strict=True):
        ours, theirs = (
            [[v / norm(channel) for v in channel] for channel in x.flatten(1).tolist()]
            for x in (s, t)
        )
        within = [mean([dot(a, b) ** 2 for a in x for b in x]) for x in (ours, theirs)]
        across = mean([dot(a, b) ** 2 for a in ours for b in theirs])
        values.append(sum(within) - 2 * across)
    return mean(values)


def test_closed_form():
    # Two student channels, at 90°, and one teacher channel, at 45° to both.
    # Student with itself: (1 + 1 + 0 + 0)/4 = ½; teacher: 1; across: cos²45° = ½. ½ + 1 − 1 = ½.
    student = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
    teacher = torch.tensor([[[5.0, 5.0]]])
    torch.testing.assert_close(nst(student, teacher), torch.tensor(0.5))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize(("ours", "theirs"), SHAPES)
def test_twin(valid, ours, theirs):
    student, teacher = rows64(6, *ours), rows64(6, *theirs, seed=1)
    close(nst(student, teacher, optional(valid)), twin(student, teacher, valid))


@pytest.mark.parametrize("places", [2, 5])
def test_gradcheck(places):
    valid = torch.tensor([True, False, True])
    student, teacher = rows64(3, 3, places), rows64(3, 4, places, seed=1)
    gradcheck(lambda s, t: nst(s, t, valid), student, teacher)


def test_both_ways_to_the_mean_kernel():
    x, y = rows64(2, 6, 5), rows64(2, 7, 5, seed=1)
    exact = torch.einsum("bcp,bep->bce", x, y).square().mean((1, 2))
    torch.testing.assert_close(mean_kernel(x, y), exact)
    torch.testing.assert_close(mean_kernel(x[:, :5], y), (x[:, :5] @ y.mT).square().mean((1, 2)))


def test_invariances():
    student, teacher = rows64(4, 3, 5), rows64(4, 6, 5, seed=1)
    value = nst(student, teacher)
    scale = 10 ** rows64(4, 3, 1, seed=2)  # of each channel
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(nst(-scale * student.flip(1), teacher), value)
    torch.testing.assert_close(nst(student[..., order], teacher[..., order]), value)
    torch.testing.assert_close(nst(teacher, student), value)
    close(nst(student.repeat(1, 2, 1), student), 0.0)  # the same distribution


def test_dead_channels_count_as_zeros():
    """After a ReLU many channels are 0 everywhere: they have no direction, and no gradient."""
    student = rows64(4, 3, 5)
    student[:, 1] = 0
    student.requires_grad_()
    teacher = rows64(4, 6, 5, seed=1)
    value = nst(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    live = torch.nn.functional.normalize(student.detach()[:, [0, 2]], dim=2)
    unit = torch.nn.functional.normalize(teacher, dim=2)
    exact = (
        (live @ live.mT).square().sum((1, 2)) / 9
        + mean_kernel(unit, unit)
        - 2 * (live @ unit.mT).square().sum((1, 2)) / 18
    ).mean()
    torch.testing.assert_close(value.detach(), exact)
    assert torch.isfinite(gradient).all()


def test_maps_are_aligned_and_pairs_add_up():
    batch = random_batch()
    both = NST()(batch.student, batch.teacher)
    parts = [NST([name])(batch.student, batch.teacher) for name in ("early", "late")]
    torch.testing.assert_close(both, parts[0] + parts[1])
    video, signal = rows64(4, 3, 5, 2, 2), rows64(4, 6, 10, seed=1)
    exact = nst(video.mean((3, 4)), signal.unflatten(2, (5, 2)).mean(3))
    embedding = torch.zeros(4, 1, dtype=torch.float64)
    value = NST()(Outputs(embedding, hidden={"a": video}), Outputs(embedding, hidden={"b": signal}))
    torch.testing.assert_close(value, exact)


@pytest.mark.parametrize(("ours", "theirs"), SHAPES)
def test_parity_with_the_kernel_of_scikit_learn(ours, theirs):
    student, teacher = rows64(4, *ours), rows64(4, *theirs, seed=1)
    values = []
    for s, t in zip(student.flatten(2).numpy(), teacher.flatten(2).numpy(), strict=True):
        x, y = normalize(s), normalize(t)
        kernels = [
            polynomial_kernel(a, b, degree=2, gamma=1.0, coef0=0).mean()
            for a, b in ((x, x), (y, y), (x, y))
        ]
        values.append(kernels[0] + kernels[1] - 2 * kernels[2])
    close(nst(student, teacher), float(np.mean(values)))
