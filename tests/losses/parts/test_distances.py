from __future__ import annotations

import torch

from tests.losses.largest_tensor import LargestTensor
from tests.losses.loops import gradcheck, norm, rows64
from xdistill.losses.parts.distances import BUDGET, distances, rows_at_once


def test_twin():
    for rows in (5, 70):  # in one chunk and in several
        x = rows64(rows, 3)
        exact = [[norm((a - b).tolist()) for b in x] for a in x]
        torch.testing.assert_close(distances(x), torch.tensor(exact, dtype=torch.float64))


def test_gradcheck():
    gradcheck(lambda x: distances(x)[~torch.eye(4, dtype=torch.bool)].sum(), rows64(4, 3))


def test_equal_rows_are_at_zero_with_no_gradient():
    x = (1000 + torch.arange(3.0) / 7).expand(40, 3).clone().requires_grad_()
    value = distances(x)
    value.sum().backward()
    assert not value.any()
    assert not x.grad.any()


def test_chunks_stay_within_the_budget():
    assert [rows_at_once(rows, rows * 128) for rows in (0, 6, 32, 64)] == [1, 6, 32, 16]
    for rows in (256, 300, 1024, 2000):
        numbers = rows * rows
        assert 1 <= rows_at_once(rows, numbers) * numbers <= BUDGET
    assert rows_at_once(4096, 4096 * 4096) == 1


def test_no_tensor_of_pairs_times_width():
    x = torch.randn(64, 128, requires_grad=True)
    with LargestTensor() as largest:
        distances(x).sum().backward()
    assert largest.numbers < 64 * 64 * 128
