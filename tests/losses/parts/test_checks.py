"""Calls with arguments that do not fit."""

from __future__ import annotations

import pytest
import torch

from tests.losses.batches import call, random_batch
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.jsd import JSD
from xdistill.losses.kd import KD
from xdistill.types import Outputs


@pytest.mark.parametrize("argument", ["teacher", "target", "valid", "index"])
def test_numbers_of_rows_must_agree(argument):
    batch = random_batch().change(valid=torch.ones(6, dtype=torch.bool))
    longer = getattr(batch, argument)
    short = longer.rows(torch.arange(5)) if isinstance(longer, Outputs) else longer[:5]
    with pytest.raises(ValueError, match=f"6 rows but {argument} has 5"):
        call(KD() + JSD(), batch.change(**{argument: short}))


@pytest.mark.parametrize("wrong", [-2, 3])
def test_a_target_is_a_class_or_minus_one(wrong):
    batch = random_batch().change(target=torch.tensor([0, 1, 2, wrong, -1, 0]))
    with pytest.raises(ValueError, match=f"target holds {wrong}.*0 to 2"):
        call(CrossEntropy(), batch)


def test_a_target_is_of_an_integer_type():
    with pytest.raises(TypeError, match="target must be integer class indices, got torch.bool"):
        call(KD(), random_batch().change(target=torch.zeros(6, dtype=torch.bool)))
    with pytest.raises(TypeError, match="index must be integer row numbers, got torch.float32"):
        call(KD(), random_batch().change(index=torch.zeros(6)))


def test_logits_are_asked_for():
    batch = random_batch()
    bare = batch.change(teacher=Outputs(batch.teacher.embedding))
    with pytest.raises(ValueError, match="kd compares class logits"):
        call(KD(), bare)
    wide = batch.change(teacher=Outputs(batch.teacher.embedding, torch.zeros(6, 4)))
    with pytest.raises(ValueError, match=r"\[3, 4\]"):
        call(KD(), wide)
