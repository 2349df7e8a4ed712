from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.losses.batches import bound_loss, call, random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.wkd_feature import FLOOR, WKDFeature, wkd_feature

SHAPES = [((3, 7), (3, 7)), ((4, 3), (4, 5, 2)), ((3, 1), (3, 4)), ((5,), (5, 2))]


def moments(channel):
    middle = mean(channel)
    squares = sum((x - middle) ** 2 for x in channel)
    return middle, math.sqrt(squares / max(1, len(channel) - 1) + FLOOR)


def twin(student, teacher, valid, ratio):
    values = []
    for s, t in zip(*kept(valid, list(student), list(teacher)), strict=True):
        value = 0.0
        for a, b in zip(s, t, strict=True):
            (m, d), (n, e) = (moments(channel.flatten().tolist()) for channel in (a, b))
            value += ratio * (m - n) ** 2 + (d - e) ** 2
        values.append(value)
    return mean(values)


def test_closed_form():
    # Channel (1, 3): mean 2, deviation √2. Channel (5, 5, 5): mean 5, deviation 0 (√FLOOR).
    student, teacher = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[5.0, 5.0, 5.0]]])
    spread = (math.sqrt(2 + FLOOR) - math.sqrt(FLOOR)) ** 2
    value = wkd_feature(student, teacher, ratio=2.0)
    torch.testing.assert_close(value, torch.tensor(2 * 9 + spread))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize(("ours", "theirs"), SHAPES)
def test_twin(valid, ours, theirs):
    student, teacher = rows64(6, *ours), rows64(6, *theirs, seed=1)
    for ratio in (0.0, 1.0, 3.0):
        value = wkd_feature(student, teacher, optional(valid), ratio)
        close(value, twin(student, teacher, valid, ratio))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    student, teacher = rows64(3, 2, 4), rows64(3, 2, 5, seed=1)
    gradcheck(lambda s, t: wkd_feature(s, t, valid, 0.5), student, teacher)


def test_the_order_of_positions_does_not_matter():
    student, teacher = rows64(4, 3, 6), rows64(4, 3, 5, seed=1)
    torch.testing.assert_close(wkd_feature(student.flip(2), teacher), wkd_feature(student, teacher))
    close(wkd_feature(student.flip(2), student), 0.0)


def test_layers_of_unequal_channels_get_an_adapter():
    batch, loss = random_batch(), bound_loss("wkd_feature")
    assert len(list(loss.parameters())) == 2  # 4 → 3 and 6 → 5 channels
    expected = sum(
        wkd_feature(adapter(batch.student.hidden[name]), batch.teacher.hidden[name])
        for adapter, name in zip(loss.adapters, ("early", "late"), strict=True)
    )
    torch.testing.assert_close(call(loss, batch), expected)
    with pytest.raises(ValueError, match="has no adapters yet; call loss.bind"):
        call(WKDFeature(), batch)
    with pytest.raises(ValueError, match="ratio must be a finite number of at least 0"):
        WKDFeature(ratio=-1.0)


def test_parity_with_numpy():
    """The public code's arithmetic, on one cell of its grid."""

    def theirs(student, teacher):
        (m, d), (n, e) = (
            (x.mean(axis=(2, 3)), np.sqrt(x.var(axis=(2, 3), ddof=1) + 1e-5))
            for x in (student, teacher)
        )
        return (((m - n) ** 2).sum() + ((d - e) ** 2).sum()) / len(student)

    agree_with_numpy(wkd_feature, theirs, rows64(3, 2, 3, 2), rows64(3, 2, 3, 2, seed=1))
