"""The mean over what counts, where nothing counts."""

from __future__ import annotations

import torch

from xdistill.numerics import masked_mean


def test_a_mean_over_nothing_is_zero_with_a_gradient_of_zero():
    values = torch.tensor([1.0, torch.inf], requires_grad=True)
    none = masked_mean(values, torch.tensor([False, False]))
    none.backward()
    assert none.item() == 0 and (values.grad == 0).all()
    assert masked_mean(values, torch.tensor([True, False])).item() == 1
