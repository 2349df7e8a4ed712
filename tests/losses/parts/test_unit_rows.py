from __future__ import annotations

import torch

from tests.losses.loops import gradcheck, rows64
from xdistill.losses.parts.unit_rows import unit_rows


def test_length_one():
    torch.testing.assert_close(unit_rows(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))
    long = 1e6 * rows64(4, 3)
    torch.testing.assert_close(unit_rows(long), torch.nn.functional.normalize(long))


def test_a_zero_row_stays_with_a_gradient_of_one():
    x = torch.zeros(2, 3, requires_grad=True)
    unit_rows(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones(2, 3))


def test_gradcheck():
    gradcheck(unit_rows, rows64(2, 3, 4))
