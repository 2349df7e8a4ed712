from __future__ import annotations

import pytest
import torch

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from xdistill.losses.fitnet import fitnet
from xdistill.losses.simkd import SimKD
from xdistill.types import Outputs


def compare(student, teacher, valid=None):
    return SimKD()(Outputs(student), Outputs(teacher), valid=valid)


def test_closed_form():
    # Gaps of 1, 2, 3 and 0: (1 + 4 + 9 + 0) / 4.
    student, teacher = (
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        torch.tensor([[2.0, 4.0], [0.0, 4.0]]),
    )
    torch.testing.assert_close(compare(student, teacher), torch.tensor(3.5))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    student, teacher = rows64(6, 4), rows64(6, 4, seed=1)
    pairs = zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True)
    exact = mean([(a - b) ** 2 for s, t in pairs for a, b in zip(s, t, strict=True)])
    close(compare(student, teacher, optional(valid)), exact)


def test_parity_with_torch():
    student, teacher = rows64(6, 4), rows64(6, 4, seed=1)
    torch.testing.assert_close(
        compare(student, teacher), torch.nn.functional.mse_loss(student, teacher)
    )


def test_gradcheck():
    gradcheck(lambda s: compare(s, rows64(3, 4, seed=1)), rows64(3, 4))


def test_an_adapter_is_made_only_between_different_widths():
    assert SimKD().bind(8, 8).adapter is None
    batch = random_batch(teacher_dim=5)
    for loss in (SimKD().bind(8, 5), SimKD(student_dim=8, teacher_dim=5)):
        exact = fitnet(loss.adapter(batch.student.embedding), batch.teacher.embedding)
        torch.testing.assert_close(loss(batch.student, batch.teacher), exact)
    assert isinstance(SimKD(adapter="linear").bind(8, 5).adapter, torch.nn.Linear)
    with pytest.raises(ValueError, match="reuse_classifier.*bind"):
        SimKD()(batch.student, batch.teacher)
