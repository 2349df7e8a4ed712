from __future__ import annotations

import math

import pytest
import torch
from open_clip.loss import ClipLoss
from torch.nn.functional import normalize

from tests.losses.batches import random_batch, step
from tests.losses.loops import (
    MASKS,
    close,
    cosine,
    gradcheck,
    kept,
    mean,
    optional,
    rows64,
    softmax,
)
from tests.losses.parity import agree
from xdistill.losses.infonce import InfoNCE, infonce


def twin(a, b, valid, scale):
    a, b = kept(valid, a.tolist(), b.tolist())
    values = []
    for i in range(len(a)):
        forth = softmax([scale * cosine(a[i], key) for key in b])[i]
        back = softmax([scale * cosine(b[i], key) for key in a])[i]
        values.append(-0.5 * (math.log(forth) + math.log(back)))
    return mean(values)


def test_closed_form():
    # Orthogonal pairs that match: each row tells e^scale from one e^0.
    eye = 3.0 * torch.eye(2)
    exact = torch.tensor(math.log1p(math.exp(-2.0)))
    torch.testing.assert_close(infonce(eye, eye, scale=2.0), exact)


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    a, b = rows64(6, 5), rows64(6, 5, seed=1)
    close(infonce(a, b, optional(valid), 10.0), twin(a, b, valid, 10.0))


def test_symmetric_and_log_b_for_equal_rows():
    a, b = rows64(6, 5), rows64(6, 5, seed=1)
    close(infonce(a, b), infonce(b, a).item())
    close(infonce(a[:1].expand(6, -1), b[:1].expand(6, -1)), math.log(6))


def test_gradcheck():
    valid = torch.tensor([True, True, False, True])
    scale = torch.tensor(5.0, dtype=torch.float64)
    gradcheck(
        lambda a, b, scale: infonce(a, b, valid, scale), rows64(4, 3), rows64(4, 3, seed=1), scale
    )


def test_learnable_temperature_starts_where_it_is_told_and_is_bounded():
    loss, batch = InfoNCE(temperature=0.05, learnable=True), random_batch()
    fixed = step(InfoNCE(temperature=0.05), batch)
    free = step(loss, batch)
    torch.testing.assert_close(free.value, fixed.value)
    assert free.parameters["log_scale"].any()
    with torch.no_grad():
        loss.log_scale.fill_(9.0)
    bounded = step(loss, batch)
    torch.testing.assert_close(bounded.value, step(InfoNCE(temperature=0.01), batch).value)
    assert bounded.parameters["log_scale"].any()  # it can come back
    torch.testing.assert_close(loss.log_scale.detach(), torch.tensor(math.log(100.0)))


def test_parity_with_open_clip():
    theirs = ClipLoss(rank=0, world_size=1)
    agree(
        lambda a, b, scale: infonce(a, b, None, scale),
        lambda a, b, scale: theirs(normalize(a), normalize(b), scale),
        rows64(7, 5),
        rows64(7, 5, seed=1),
        torch.tensor(10.0, dtype=torch.float64),
    )
