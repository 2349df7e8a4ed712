"""Every number that a loss is made with is refused where it can mean nothing."""

from __future__ import annotations

import inspect
import math
import re

import numpy as np
import pytest

from xdistill.losses.parts.options import require_counts, require_num_classes
from xdistill.registry import create_loss, list_losses, losses

# A seed may be any number, and a bank of 0 rows is none.
ANY, NONE_AT_ZERO = {"seed"}, {"bank_size"}


def options(kind: str) -> list[tuple[str, str]]:
    """Loss and option of all that are of a kind: "int", or "float"; optional or not."""
    return [
        (name, option.name)
        for name in list_losses()
        for option in inspect.signature(losses.get(name)).parameters.values()
        if option.annotation in (kind, f"{kind} | None") and option.name not in ANY
    ]


def test_there_are_options_of_both_kinds():
    assert len(options("int")) > 40 and len(options("float")) > 60


@pytest.mark.parametrize(("name", "option"), options("int"))
@pytest.mark.parametrize("value", [-1, 0, 1.5, math.nan, True])
def test_a_count_is_a_whole_number_above_zero(name, option, value):
    least = 0 if option in NONE_AT_ZERO else 1
    if least == 0 and value == 0:
        return
    told = f"{name}: {option} must be a whole number of at least {least}, got {value!r}"
    with pytest.raises(ValueError, match=re.escape(told)):
        create_loss(name, **{option: value})


@pytest.mark.parametrize(("name", "option"), options("float"))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_is_finite(name, option, value):
    with pytest.raises(ValueError, match=rf"(?s){name}.*{option}.*{value}"):
        create_loss(name, **{option: value})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cmd", {"bounds": (math.nan, 1.0)}),
        ("cmd", {"bounds": (0.0, math.inf)}),
        ("mlkd", {"temperatures": (1.0, math.nan)}),
        ("mlkd", {"temperatures": ()}),
        ("reviewkd", {"pools": (4, 0)}),
        ("reviewkd", {"pools": (-1,)}),
        ("cross_entropy", {"weight": (1.0, math.nan)}),
        ("cross_entropy", {"weight": (1.0, -1.0)}),
    ],
)
def test_each_of_several_numbers_is_looked_at(name, options):
    with pytest.raises(ValueError, match=f"{name}.*{next(iter(options))}"):
        create_loss(name, **options)


def test_numpy_integers_are_counts():
    assert create_loss("infonce", dim=np.int64(4)).dim == 4
    require_counts("mine", dim=np.int32(1), other=None)


@pytest.mark.parametrize("classes", [0, -1])
def test_classes_that_bind_is_told_of_are_counts(classes):
    with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1"):
        require_num_classes("mine", "counts", None, classes)
    assert require_num_classes("mine", "counts", 3, classes) == 3


TEMPERATURES = [
    (name, option)
    for name in list_losses()
    for option in inspect.signature(losses.get(name)).parameters
    if option.endswith("temperature")
]


@pytest.mark.parametrize(("name", "option"), TEMPERATURES)
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_a_number_above_zero(name, option, value):
    with pytest.raises(ValueError, match=f"{name}: {option} must be a finite number above 0"):
        create_loss(name, **{option: value})
