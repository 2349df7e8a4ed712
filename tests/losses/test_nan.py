"""NaN stays NaN in every registered loss, and no option is NaN, infinite or out of its range."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace

import pytest
import torch

from tests.losses.batches import Batch, bound_loss, call, random_batch, step
from xdistill.registry import create_loss, list_losses, losses
from xdistill.types import Outputs

PARTS = ("embedding", "logits", "hidden")
TASK_LOSSES = {"binary_cross_entropy", "cross_entropy", "tfkd"}
CASES = [
    (name, side, part)
    for name in list_losses()
    for side in ("student", "teacher")
    for part in losses.get(name).needs
    if part in PARTS and not (side == "teacher" and name in TASK_LOSSES)
]


def poisoned(one: Outputs, part: str, row: int = 2) -> Outputs:
    def poison(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[row].flatten()[0] = math.nan
        return tensor

    if part == "hidden":
        return replace(one, hidden={name: poison(x) for name, x in one.hidden.items()})
    return replace(one, **{part: poison(getattr(one, part))})


def with_nan(batch: Batch, side: str, part: str) -> Batch:
    return batch.change(**{side: poisoned(getattr(batch, side), part)})


@pytest.mark.parametrize(("name", "side", "part"), CASES)
@pytest.mark.parametrize("training", [False, True])
def test_one_nan_makes_the_value_and_the_gradient_nan(name, side, part, training):
    batch = random_batch()
    if name == "pseudo_label":  # it gives no gradient to labelled rows
        batch = batch.change(target=torch.full((6,), -1))
    result = step(bound_loss(name).train(training), with_nan(batch, side, part))
    assert result.value.isnan()
    assert any(
        gradient.isnan().any() for key, gradient in result.tensors().items() if key != "value"
    )


@pytest.mark.parametrize(("name", "side", "part"), CASES)
def test_a_nan_is_not_kept_for_the_next_batch(name, side, part):
    loss = bound_loss(name)
    assert call(loss, with_nan(random_batch(), side, part)).isnan()
    assert call(loss, random_batch(seed=1)).isfinite()


@pytest.mark.parametrize("name", ["crd", "wcord"])
def test_a_nan_is_not_kept_in_a_queue(name):
    loss = bound_loss(name, form="queue")
    assert call(loss, with_nan(random_batch(), "teacher", "embedding")).isnan()
    assert call(loss, random_batch(seed=1)).isfinite()


@pytest.mark.parametrize("name", list_losses())
def test_an_option_is_a_finite_number(name):
    for option, one in inspect.signature(losses.get(name)).parameters.items():
        if isinstance(one.default, float):
            for value in (math.nan, math.inf):
                with pytest.raises(ValueError, match=option):
                    create_loss(name, **{option: value})


@pytest.mark.parametrize("name", list_losses())
def test_a_weight_or_margin_is_not_negative(name):
    for option, one in inspect.signature(losses.get(name)).parameters.items():
        if isinstance(one.default, float) and option not in ("bias", "threshold"):
            with pytest.raises(ValueError, match=option):
                create_loss(name, **{option: -2.0})
