"""What every registered loss must do with rows: missing ones count for nothing, nor does order."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from tests.losses.batches import (
    bound_loss,
    fresh_step,
    random_batch,
    step,
)
from tests.losses.test_contract import TASK_LOSSES, every_loss, teacher_loss


@every_loss
@pytest.mark.parametrize("target", [(0, 1, 2, 0, 1, 2), (-1,) * 6])
@pytest.mark.parametrize("later", [False, True])
def test_no_valid_row_is_exactly_zero(name, target, later):
    if name in TASK_LOSSES and target[0] >= 0:
        target = (-1,) * 6
    loss = bound_loss(name)
    if later:
        step(loss, random_batch(seed=1))
    batch = random_batch().change(
        target=torch.tensor(target), valid=torch.zeros(6, dtype=torch.bool)
    )
    missing = batch.teacher.map(lambda tensor: torch.full_like(tensor, math.nan))
    for part, tensor in step(loss, batch.change(teacher=missing)).tensors().items():
        assert not tensor.any(), f"{part} of {name}"


@teacher_loss
@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
def test_what_a_missing_teacher_row_held_does_not_matter(name, garbage):
    loss = bound_loss(name, teacher_dim=5)
    valid = torch.tensor([True, False, True, True, False, True])
    batch = random_batch(teacher_dim=5).change(valid=valid)
    bad = batch.teacher.map(
        lambda tensor: torch.where(
            valid.view(-1, *[1] * (tensor.ndim - 1)), tensor, torch.full_like(tensor, garbage)
        )
    )
    poisoned = copy.deepcopy(loss)
    for _ in range(2):  # the second step meets what the first left in a memory
        clean, dirty = step(loss, batch), step(poisoned, batch.change(teacher=bad))
        torch.testing.assert_close(dirty.tensors(), clean.tensors(), rtol=0, atol=0)


@teacher_loss
def test_missing_rows_equal_absent_rows(name):
    loss = bound_loss(name)
    valid = torch.tensor([True, False, True, True, False, True])
    batch = random_batch()
    absent = fresh_step(loss, batch.rows(valid.nonzero().flatten()))
    missing = fresh_step(loss, batch.change(valid=valid))
    torch.testing.assert_close(missing.value, absent.value)
    torch.testing.assert_close(missing.embedding[valid], absent.embedding)
    torch.testing.assert_close(missing.logits[valid], absent.logits)
    assert not missing.embedding[~valid].any()
    assert not missing.logits[~valid].any()
    for layer, gradient in missing.hidden.items():
        torch.testing.assert_close(gradient[valid], absent.hidden[layer])
        assert not gradient[~valid].any()


@every_loss
@pytest.mark.parametrize("later", [False, True])
def test_the_order_of_rows_does_not_matter(name, later):
    loss = bound_loss(name)
    if later:
        step(loss, random_batch(seed=1))
    batch = random_batch().change(
        target=torch.tensor([0, 1, -1, 0, 2, 1]),
        valid=torch.tensor([True, True, True, False, True, True]),
    )
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    straight, mixed = fresh_step(loss, batch), fresh_step(loss, batch.rows(order))
    torch.testing.assert_close(mixed.value, straight.value)
    torch.testing.assert_close(mixed.embedding, straight.embedding[order])
    torch.testing.assert_close(mixed.logits, straight.logits[order])
    for layer, gradient in mixed.hidden.items():
        torch.testing.assert_close(gradient, straight.hidden[layer][order])
