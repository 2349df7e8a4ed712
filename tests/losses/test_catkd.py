from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, norm, optional, rows64
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.catkd import CATKD, catkd
from xdistill.types import Outputs


def pooled(channel, places):
    """A list of numbers averaged over parts, as in `adaptive_avg_pool1d`, then its length 1."""
    places = min(places, len(channel))
    parts = [
        channel[i * len(channel) // places : -(-(i + 1) * len(channel) // places)]
        for i in range(places)
    ]
    return [mean(part) for part in parts]


def twin(student, teacher, valid, resolution, normalise):
    values = []
    for s, t in zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True):
        gaps = []
        for a, b in zip(s, t, strict=True):
            a, b = pooled(a, resolution), pooled(b, resolution)
            if normalise:
                a, b = [x / norm(a) for x in a], [x / norm(b) for x in b]
            gaps += [(x - y) ** 2 for x, y in zip(a, b, strict=True)]
        values.append(mean(gaps))
    return mean(values)


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("resolution", [1, 2, 3, 9])
def test_twin(valid, normalise, resolution):
    student, teacher = rows64(6, 3, 5), rows64(6, 3, 5, seed=1)
    value = catkd(student, teacher, optional(valid), resolution, normalise)
    close(value, twin(student, teacher, valid, resolution, normalise))


def test_closed_form():
    # Halves of class 0: (3, 4) and (4, 3), of length 1: (0.6, 0.8) and (0.8, 0.6); class 1 agrees.
    student = torch.tensor([[[2.0, 4, 4, 4], [1, 1, 5, 5]]], dtype=torch.float64)
    teacher = torch.tensor([[[5.0, 3, 3, 3], [2, 2, 10, 10]]], dtype=torch.float64)
    close(catkd(student, teacher), (2 * 0.2**2) / 4)
    close(catkd(student, teacher, normalise=False), (1 + 1 + 1 + 25) / 4)


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: catkd(s, t, valid, 2), rows64(3, 2, 4, 3), rows64(3, 2, 4, 3, seed=1))


def test_the_scale_of_a_class_does_not_matter_when_normalised():
    student, teacher = rows64(4, 3, 6), rows64(4, 3, 6, seed=1)
    scale = torch.tensor([1.0, 20.0, 0.1], dtype=torch.float64)[:, None]
    torch.testing.assert_close(catkd(scale * student, teacher), catkd(student, teacher))
    close(catkd(scale * teacher, teacher), 0.0)


def test_a_module_with_its_options():
    batch, maps = random_batch(), [torch.randn(6, 3, 4, 2, 2), torch.randn(6, 3, 8)]
    student, teacher = (
        Outputs(one.embedding, one.logits, {"map": x})
        for one, x in zip((batch.student, batch.teacher), maps, strict=True)
    )
    expected = catkd(maps[0].mean(dim=(3, 4)), F.avg_pool1d(maps[1], 2), None, 3, False)
    loss = CATKD(layers=["map"], resolution=3, normalise=False)
    torch.testing.assert_close(loss(student, teacher), expected)
    with pytest.raises(ValueError, match=r"make them with xd.class_map\(encoder, layer\)"):
        CATKD(layers=["early"])(batch.student, batch.teacher)
    with pytest.raises(ValueError, match="resolution must be a whole number of at least 1, got 0"):
        CATKD(resolution=0)


@pytest.mark.parametrize("normalise", [True, False])
def test_parity_with_numpy(normalise):
    def theirs(student, teacher):
        ours, other = (x.reshape(3, 2, 2, 2, 2, 2).mean(axis=(3, 5)) for x in (student, teacher))
        if normalise:
            ours, other = (
                x / np.sqrt((x**2).sum(axis=(2, 3), keepdims=True)) for x in (ours, other)
            )
        return ((ours - other) ** 2).mean()

    agree_with_numpy(
        lambda s, t: catkd(s, t, normalise=normalise),
        theirs,
        rows64(3, 2, 4, 4),
        rows64(3, 2, 4, 4, seed=1),
    )
