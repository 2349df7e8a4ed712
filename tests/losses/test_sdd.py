from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax as scipy_softmax

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.kd import kd
from xdistill.losses.parts.layers import LayerPair
from xdistill.losses.sdd import SDD, sdd
from xdistill.types import Outputs

LABELS = [None, [0, 1, 2, 0, 1, 2], [0, -1, 2, -1, 1, -1]]


def regions(row, scales):
    """The logits of every region of one row [K, T, W], in loops."""
    found = []
    for grid in sorted({tuple(min(scale, n) for n in row.shape[1:]) for scale in scales}):
        parts = [
            [(i * n // cut, math.ceil((i + 1) * n / cut)) for i in range(cut)]
            for n, cut in zip(row.shape[1:], grid, strict=True)
        ]
        for a, b in parts[0]:
            for c, d in parts[1]:
                found.append([mean(one[a:b, c:d].flatten().tolist()) for one in row])
    return found


def twin(student, teacher, target, valid, scales, beta, temperature):
    values = []
    target = target or [-1] * len(student)
    for s, t, y in zip(*kept(valid, list(student), list(teacher), target), strict=True):
        (whole,) = regions(t, [1])
        first = whole.index(max(whole))
        label = first if y < 0 else y
        terms = []
        for ours, theirs in zip(regions(s, scales), regions(t, scales), strict=True):
            p, q = (softmax([z / temperature for z in one]) for one in (theirs, ours))
            disagree = (theirs.index(max(theirs)) == label) != (first == label)
            gap = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            terms.append((beta if disagree else 1) * temperature**2 * gap)
        values.append(mean(terms))
    return mean(values)


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", LABELS)
@pytest.mark.parametrize("scales", [(1, 2, 4), (1,), (2, 3)])
def test_twin(valid, target, scales):
    student, teacher = rows64(6, 3, 5, 2), 2 * rows64(6, 3, 5, 2, seed=1)
    close(
        sdd(student, teacher, optional(target), optional(valid), scales, 3.0, 2.0),
        twin(student, teacher, target, valid, scales, 3.0, 2.0),
    )


def test_closed_form():
    # Two halves: the teacher says class 0 with 3/4 in the first, with 1/4 in the second half, the
    # student 1/2 everywhere. The whole map's logits are 0 on both sides: KL 0, first choice 0.
    half = math.log(3) / 2
    teacher = torch.tensor([[[half, -half], [-half, half]]], dtype=torch.float64)
    student = torch.zeros(1, 2, 2, dtype=torch.float64)
    gap = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    # label 0: the first half agrees with the whole, the second is complementary
    value = sdd(student, teacher, torch.tensor([0]), scales=(1, 2), beta=5.0, temperature=1.0)
    close(value, (0 + gap + 5 * gap) / 3)


def test_one_scale_is_kd():
    student, teacher = rows64(5, 4, 3, 2), rows64(5, 4, 3, 2, seed=1)
    expected = kd(student.mean((2, 3)), teacher.mean((2, 3)), None, 4.0)
    torch.testing.assert_close(sdd(student, teacher, scales=(1,)), expected)


def test_a_scale_beyond_the_places_adds_no_region_twice():
    student, teacher = rows64(4, 3, 2), rows64(4, 3, 2, seed=1)
    values = [sdd(student, teacher, scales=scales) for scales in ((1, 2), (1, 2, 4, 8))]
    torch.testing.assert_close(*values)


def test_gradcheck():
    valid, target = torch.tensor([True, False, True]), torch.tensor([0, 1, -1])
    teacher = rows64(3, 3, 4, seed=1)  # its first choices are steps
    gradcheck(lambda s: sdd(s, teacher, target, valid, (1, 2), 2.0, 3.0), rows64(3, 3, 4))


def test_a_module_with_its_options():
    batch = random_batch()
    maps = [torch.randn(6, 3, 4, 2), torch.randn(6, 3, 8)]
    student, teacher = (
        Outputs(one.embedding, one.logits, {"map": x})
        for one, x in zip((batch.student, batch.teacher), maps, strict=True)
    )
    pair = LayerPair("map", "map", "b c t w", "b c t")
    loss = SDD(layers=[pair], scales=(1, 4), beta=1.5, temperature=2.0)
    shared = maps[0].mean(dim=3), maps[1].unflatten(2, (4, 2)).mean(dim=3)  # time, four places
    expected = sdd(*shared, batch.target, None, (1, 4), 1.5, 2.0)
    torch.testing.assert_close(loss(student, teacher, batch.target), expected)
    with pytest.raises(ValueError, match=r"got 4 \(student\) and 3 \(teacher\) channels for 3"):
        SDD(layers=["early"])(batch.student, batch.teacher, batch.target)
    for wrong, told in (((), "got none"), ((0, 1), "a whole number of at least 1, got 0")):
        with pytest.raises(ValueError, match=told):
            SDD(scales=wrong)


def test_parity_with_numpy():
    """The public code's arithmetic: one row for each region and sample, weights by four masks."""
    target = np.array([0, 2, 1])

    def theirs(student, teacher):
        def scores(x):  # [regions, B, K]
            two = x.reshape(3, 3, 2, 2, 2, 2).mean(axis=(3, 5)).reshape(3, 3, 4)
            return np.concatenate([x.mean(axis=(2, 3))[:, :, None], two], axis=2).transpose(2, 0, 1)

        ours, teach = scores(student), scores(teacher)
        p, q = scipy_softmax(teach / 4, axis=2), scipy_softmax(ours / 4, axis=2)
        loss = (p * np.log(p / q)).sum(axis=2) * 16
        right = teach.argmax(axis=2) == target
        weight = np.where(right == right[0], 1.0, 2.0)
        return (loss * weight).sum() / (5 * 3)

    agree_with_numpy(
        lambda s: sdd(s, TEACHER, torch.from_numpy(target), None, (1, 2)),
        lambda s: theirs(s, TEACHER.numpy()),
        rows64(3, 3, 4, 4),
    )


TEACHER = 3 * rows64(3, 3, 4, 4, seed=1)
