"""Parts of rows and of modalities."""

import pytest
import torch

import xdistill as xd
from xdistill.experiment.rows import first_sample, hide_teachers, only


def data(rows: int = 200) -> xd.PairedDataset:
    return xd.PairedDataset(
        {"a": torch.randn(rows, 2), "b": torch.randn(rows, 3)},
        [0, 1] * (rows // 2),
        classes=("x", "y"),
        valid={"a": torch.arange(rows) % 4 > 0},
    )


def test_hidden_teachers_are_nested_and_counted():
    dataset = data()
    some = hide_teachers(dataset, ("a",), 0.3, seed=1).valid["a"]
    most = hide_teachers(dataset, ("a", "b"), 0.9, seed=1)
    assert bool((most.valid["a"] <= some).all()) and int(most.valid["b"].sum()) == 20
    assert bool((some <= dataset.valid["a"]).all())


def test_only_one_modality_is_left_with_the_rows_that_have_it():
    dataset = data()
    alone = only(dataset, "a")
    assert alone.modalities == ("a",) and len(alone) == 150
    assert torch.equal(alone.read("a", 0), dataset.read("a", 1))
    assert only(dataset, "b").modalities == ("b",) and len(only(dataset, "b")) == 200


def test_the_first_sample_is_that_of_a_row_that_has_one():
    dataset = data()
    assert torch.equal(first_sample(dataset, "a"), dataset.read("a", 1))
    with pytest.raises(ValueError, match=r"no modality 'c', it has \['a', 'b'\]"):
        first_sample(dataset, "c")
