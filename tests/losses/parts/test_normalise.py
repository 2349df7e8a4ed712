from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, optional, rows64
from xdistill.losses.fitnet import FitNet, fitnet
from xdistill.losses.parts.masking import row_mask
from xdistill.losses.parts.normalise import normalised


def kept_rows(x, valid):
    keep = row_mask(optional(valid), x)
    return keep, x[keep].numpy()


@pytest.mark.parametrize("valid", MASKS)
def test_standardise_is_the_z_score_of_each_feature(valid):
    x = 3 * rows64(6, 4) + 5
    keep, rows = kept_rows(x, valid)
    expected = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    found = normalised(x, keep, "standardise")
    np.testing.assert_allclose(found[keep].numpy(), expected, rtol=1e-10)
    assert not found[~keep].any()


@pytest.mark.parametrize("valid", MASKS)
def test_layer_is_the_z_score_of_each_row(valid):
    x = 3 * rows64(6, 4) + 5
    keep, rows = kept_rows(x, valid)
    middle = rows.mean(1, keepdims=True)
    expected = (rows - middle) / np.sqrt(rows.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(normalised(x, keep, "layer")[keep].numpy(), expected, rtol=1e-10)


def test_whiten_is_the_inverse_root_of_the_covariance():
    x = rows64(12, 3) @ rows64(3, 3, seed=1) + 5
    keep = torch.arange(12) != 4
    rows = x[keep].numpy() - x[keep].numpy().mean(0)
    covariance = rows.T @ rows / len(rows)
    found = normalised(x, keep, "whiten")
    np.testing.assert_allclose(
        found[keep].numpy(), rows @ np.linalg.inv(sqrtm(covariance).real), rtol=1e-8
    )
    torch.testing.assert_close(found.T @ found / 11, torch.eye(3).double())
    assert not found[~keep].any()


def test_whiten_where_rows_are_fewer_than_features_or_equal():
    x = rows64(4, 10)
    found = normalised(x, row_mask(None, x), "whiten")
    torch.testing.assert_close(
        torch.linalg.svdvals(found), torch.tensor([2.0, 2, 2, 0]).double(), atol=1e-9, rtol=0
    )
    for kind in ("standardise", "whiten"):
        assert not normalised(x[:1].expand(5, -1), torch.ones(5, dtype=torch.bool), kind).any()
        assert not normalised(x, torch.zeros(4, dtype=torch.bool), kind).any()


def test_fitnet_normalises_its_teacher():
    batch, valid = random_batch(), torch.tensor([True, False, True, True, True, True])
    plain = FitNet(normalise="whiten")(batch.student, batch.teacher, valid=valid)
    target = normalised(batch.teacher.embedding, valid, "whiten")
    torch.testing.assert_close(plain, fitnet(batch.student.embedding, target, valid))
    with pytest.raises(ValueError, match=r"normalise must be one of \['none'"):
        FitNet(normalise="zca")
    with pytest.raises(ValueError, match="got layers together with normalise='layer'"):
        FitNet(layers=["early"], normalise="layer")


@pytest.mark.parametrize("width", [3, 5, 8])
def test_vkd_keeps_its_projector_orthonormal_while_it_trains(width):
    torch.manual_seed(0)
    batch = random_batch(student_dim=5, teacher_dim=width)
    loss = FitNet(adapter="orthogonal", normalise="standardise").bind(5, width)
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.5)
    before, values = loss.adapter.weight.detach().clone(), []
    for _ in range(20):
        optimiser.zero_grad()
        value = loss(batch.student, batch.teacher)
        value.backward()
        optimiser.step()
        values.append(value.item())
        weight = loss.adapter.weight  # [width, 5]
        gram = weight.T @ weight if width >= 5 else weight @ weight.T
        torch.testing.assert_close(gram, torch.eye(min(width, 5)), atol=1e-5, rtol=0)
    assert values[-1] < values[0] and (weight - before).abs().max() > 0.01
    if width >= 5:  # distances are kept
        x = batch.student.embedding
        torch.testing.assert_close(torch.cdist(loss.adapter(x), loss.adapter(x)), torch.cdist(x, x))
