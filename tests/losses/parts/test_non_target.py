from __future__ import annotations

import torch

from tests.losses.loops import gradcheck, rows64
from xdistill.losses.parts.non_target import log_odds, without_target

TARGET = torch.tensor([0, 2, 3, 1])


def test_without_target_drops_one_class_of_each_row():
    logits = torch.arange(16.0).view(4, 4)
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 7.0], [8.0, 9.0, 10.0], [12.0, 14.0, 15.0]]
    assert without_target(logits, TARGET).tolist() == rows


def test_its_softmax_is_that_of_a_target_at_minus_infinity():
    logits = rows64(4, 4)
    removed = logits.scatter(1, TARGET[:, None], -torch.inf).softmax(dim=1)
    expected = removed[removed > 0].view(4, 3)
    torch.testing.assert_close(without_target(logits, TARGET).softmax(dim=1), expected)


def test_log_odds():
    logits = rows64(4, 4)
    p = logits.softmax(dim=1)[range(4), TARGET]
    torch.testing.assert_close(log_odds(logits, TARGET), torch.log(p / (1 - p)))
    gradcheck(lambda z: log_odds(z, TARGET), logits)


def test_log_odds_survive_saturation():
    logits = torch.tensor([[1e4, -1e4, -1e4], [-1e4, 1e4, 0.0]], requires_grad=True)
    odds = log_odds(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(odds.detach(), torch.tensor([2e4, -2e4]), rtol=1e-4, atol=0)
    odds.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_an_unlabelled_row_is_harmless():
    assert torch.isfinite(log_odds(rows64(2, 3), torch.tensor([-1, -1]))).all()
