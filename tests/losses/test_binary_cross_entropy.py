from __future__ import annotations

import math

import pytest
import torch

import xdistill as xd
from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import close, gradcheck, mean, rows64
from xdistill.losses.binary_cross_entropy import BinaryCrossEntropy, binary_cross_entropy


def twin(logits, target):
    values = []
    for row, known in zip(logits.tolist(), target, strict=True):
        for z, y in zip(row, known, strict=True):
            if y >= 0:
                p = 1 / (1 + math.exp(-z))
                values.append(-math.log(p if y else 1 - p))
    return mean(values)


def test_closed_form():
    logits = torch.tensor([[0.0, math.log(3.0)], [9.0, 9.0]])
    value = binary_cross_entropy(logits, torch.tensor([[1, 0], [-1, -1]]))
    torch.testing.assert_close(value, torch.tensor((math.log(2.0) + math.log(4.0)) / 2))


@pytest.mark.parametrize(
    "target",
    [[[0, 1, 1], [1, 0, 0]], [[-1, 1, 0], [1, -1, -1]], [[-1] * 3, [0, 1, 0]], [[-1] * 3] * 2],
)
def test_twin(target):
    logits = rows64(2, 3)
    close(binary_cross_entropy(logits, torch.tensor(target)), twin(logits, target))


def test_gradcheck():
    target = torch.tensor([[0, 1], [-1, 1], [-1, -1]])
    gradcheck(lambda z: binary_cross_entropy(z, target), rows64(3, 2))


def test_one_class_a_row_is_one_against_the_others():
    logits = rows64(3, 4)
    several = torch.tensor([[0, 1, 0, 0], [-1] * 4, [0, 0, 0, 1]])
    close(binary_cross_entropy(logits, torch.tensor([1, -1, 3])), twin(logits, several.tolist()))


def test_parity_with_torch():
    logits, target = rows64(6, 5), (rows64(6, 5, seed=1) > 0).long()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.double())
    torch.testing.assert_close(binary_cross_entropy(logits, target), expected)


def test_a_missing_teacher_does_not_take_the_label_away():
    batch = random_batch()
    target = torch.randint(0, 2, batch.student.logits.shape)
    missing = torch.zeros(6, dtype=torch.bool)
    value = BinaryCrossEntropy()(batch.student, batch.teacher, target, valid=missing)
    torch.testing.assert_close(value, binary_cross_entropy(batch.student.logits, target))


def several_classes() -> torch.Tensor:
    return torch.tensor([[1, 0, 1], [0, 0, 0], [-1, -1, -1], [1, 1, 1], [0, 1, -1], [0, 0, 1]])


@pytest.mark.parametrize("name", xd.list_losses())
def test_every_loss_takes_several_classes_a_row_or_says_that_it_does_not(name):
    batch = random_batch()
    loss = bound_loss(name)
    if "labels" in (*loss.needs, *loss.uses) and "classes" not in loss.reads:
        with pytest.raises(ValueError, match=rf"{name} reads (one class|values).*\[6, 3\]"):
            step(loss, batch.change(target=several_classes()))
        return
    value = step(loss, batch.change(target=several_classes())).value
    assert torch.isfinite(value)
    if name != "binary_cross_entropy":  # all others go by pairs alone
        unlabelled = batch.change(target=None)
        torch.testing.assert_close(value, step(bound_loss(name), unlabelled).value)


def test_losses_compose_and_schedules_pass_several_classes_on():
    batch = random_batch()
    total = xd.BinaryCrossEntropy() + xd.warmup(xd.SACD(dim=8, bank_size=16), 0.5) + xd.InfoNCE()
    total.bind(8, 8, 3).set_progress(1, 2)
    total(batch.student, batch.teacher, several_classes()).backward()
    assert {"binary_cross_entropy", "sacd", "infonce"} <= set(total.terms)
    with pytest.raises(ValueError, match="supcon reads one class per row"):
        (xd.BinaryCrossEntropy() + 0.5 * xd.SupCon())(
            batch.student, batch.teacher, several_classes()
        )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([[0, 1]] * 6, r"target has shape \[6, 2\], expected \[6\] or \[6, 3\]"),
        ([[0, 1, 2]] * 6, "target holds 2, expected -1 .* or 0 or 1"),
        ([[0, 1, -2]] * 6, "target holds -2"),
    ],
)
def test_targets_that_are_none(target, message):
    batch = random_batch()
    with pytest.raises(ValueError, match=message):
        BinaryCrossEntropy()(batch.student, batch.teacher, torch.tensor(target))
