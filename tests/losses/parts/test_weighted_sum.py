"""Sums of losses."""

from __future__ import annotations

import pytest
import torch

from tests.losses.batches import CLASSES, call, random_batch, step
from xdistill.losses.ccl import CCL
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.infonce import InfoNCE
from xdistill.losses.jsd import JSD
from xdistill.losses.kd import KD
from xdistill.losses.parts.weighted_sum import WeightedSum


def test_a_sum_adds_weighted_terms():
    batch = random_batch()
    loss = 2 * (CrossEntropy() + 0.5 * KD()) + JSD()
    assert isinstance(loss, WeightedSum)
    assert loss.weights == [2.0, 1.0, 1.0]
    parts = [call(one, batch) for one in (CrossEntropy(), KD(), JSD())]
    torch.testing.assert_close(call(loss, batch), 2 * parts[0] + parts[1] + parts[2])
    assert list(loss.terms) == ["cross_entropy", "kd", "jsd"]
    torch.testing.assert_close(loss.terms["kd"], parts[1].detach())
    assert "weights=[2.0, 1.0, 1.0]" in repr(loss)


def test_sum_of_a_list():
    loss = sum([CrossEntropy(), KD(), JSD()])
    assert [type(leaf) for leaf in loss.leaves()] == [CrossEntropy, KD, JSD]


def test_equal_names_are_numbered():
    loss = KD(temperature=1.0) + KD(temperature=2.0) + KD(temperature=4.0)
    batch = random_batch()
    call(loss, batch)
    assert list(loss.terms) == ["kd", "kd_2", "kd_3"]
    torch.testing.assert_close(loss.terms["kd_3"], call(KD(4.0), batch))


def test_parts_of_a_term_follow_its_name():
    loss = KD() + 0.5 * _ccl() + _ccl()
    call(loss, random_batch())
    parts = ["", "/classification", "/contrast", "/divergence"]
    assert set(loss.terms) == {
        "kd",
        *(f"ccl{part}" for part in parts),
        *(f"ccl_2{part}" for part in parts),
    }


def _ccl():
    return CCL(dim=8, num_classes=CLASSES)


@pytest.mark.parametrize("weight", [True, "2", None])
def test_a_weight_is_a_number(weight):
    with pytest.raises(TypeError):
        KD() * weight


def test_only_losses_add_up():
    with pytest.raises(TypeError):
        KD() + 1.0
    with pytest.raises(TypeError):
        1.0 + KD()


def test_a_sum_keeps_the_parameters_of_its_terms():
    loss = 0.5 * InfoNCE(learnable=True) + KD()
    assert [name for name, _ in loss.named_parameters()] == ["losses.0.log_scale"]
    assert step(loss, random_batch()).parameters["losses.0.log_scale"].any()
