from __future__ import annotations

from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xdistill.data.labels import hide_labels
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import (
    Splits,
    check_disjoint,
    kfold_by_group,
    split_by_group,
    split_groups,
)


def rows_of(groups: list[int], target: list[int] | None = None, classes: int = 3) -> PairedDataset:
    return PairedDataset(
        {"tabular": torch.arange(len(groups)).float()[:, None]},
        [row % classes for row in range(len(groups))] if target is None else target,
        classes=[f"class {k}" for k in range(classes)],
        group=groups,
    )


def contents(splits: Splits) -> list[list[float]]:
    return [[part[row].inputs["tabular"].item() for row in range(len(part))] for part in splits]


groups_of_rows = st.lists(st.integers(-3, 40), min_size=3, max_size=80).filter(
    lambda groups: len(set(groups)) >= 3
)


@settings(max_examples=40)
@given(groups_of_rows, st.integers(0, 5))
def test_random_split_is_a_partition_into_disjoint_parts(groups, seed):
    splits = split_by_group(rows_of(groups), seed=seed)
    check_disjoint(splits)
    assert sorted(chain(*contents(splits))) == list(range(len(groups)))
    assert all(len(part) for part in splits)
    assert contents(splits) == contents(split_by_group(rows_of(groups), seed=seed))


def test_random_split_has_the_sizes_asked_for_and_depends_on_the_seed():
    dataset = rows_of([row // 5 for row in range(500)])
    parts = [split_by_group(dataset, (0.6, 0.2, 0.2), seed=seed) for seed in range(4)]
    for splits in parts:
        assert [len(part) for part in splits] == [300, 100, 100]
    assert len({tuple(part.test.group.tolist()) for part in parts}) == 4


def test_random_split_spreads_a_rare_class():
    # Ten of sixty subjects have the rare class; an unlucky draw leaves validation without it.
    groups = [row // 4 for row in range(240)]
    target = [1 if group % 6 == 0 else 0 for group in groups]
    for seed in range(5):
        splits = split_by_group(rows_of(groups, target), (0.6, 0.2, 0.2), seed=seed)
        rare = [float((part.target == 1).double().mean()) for part in splits]
        assert max(rare) - min(rare) < 0.06


@pytest.mark.parametrize(
    "fractions", [(0.7, 0.3), (0.7, 0.3, 0.0), (0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (0.9, 0.1, None)]
)
def test_impossible_fractions(fractions):
    if None in fractions:
        fractions = (float("nan"), 0.5, 0.5)
    with pytest.raises(ValueError, match="three positive numbers that add up to 1"):
        split_by_group(rows_of([1, 2, 3, 4]), fractions)


def test_too_few_groups():
    with pytest.raises(ValueError, match="at least 3 groups, the dataset has 2"):
        split_by_group(rows_of([1, 1, 2, 2]))


def test_named_groups():
    splits = split_groups(rows_of([1, 2, 3, 1, 2, 3]), train=[1], val=[3], test=[2])
    assert contents(splits) == [[0, 3], [2, 5], [1, 4]]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([1, 2], [2], [3, 4]), "train and val share group 2;"),
        (([1], [2], [1, 3, 4]), "train and test share group 1;"),
        (([1, 2], [3], []), "'test' names no group"),
        (([1, 2, 9], [3], [4]), "no rows of group 9; its groups are 1, 2, 3, 4"),
        (([1], [3], [4]), "group 2 of the dataset is in no part"),
    ],
)
def test_named_groups_that_are_no_split(parts, message):
    train, val, test = parts
    with pytest.raises(ValueError, match=message):
        split_groups(rows_of([1, 2, 3, 4]), train=train, val=val, test=test)


def test_check_disjoint_names_the_subjects():
    dataset = rows_of(list(range(30)))
    overlapping = Splits(dataset, dataset.subset([4, 5]), rows_of([77, 78]))
    with pytest.raises(ValueError, match="train and val share group 4, 5;"):
        check_disjoint(overlapping)
    with pytest.raises(ValueError, match="10, 11 and 18 more"):
        check_disjoint(Splits(dataset, dataset, rows_of([77])))


@settings(max_examples=40)
@given(groups_of_rows, st.integers(3, 6), st.integers(0, 3))
def test_every_subject_is_tested_once_and_is_validation_once(groups, folds, seed):
    dataset = rows_of(groups)
    if folds > len(set(groups)):
        with pytest.raises(ValueError, match="number of groups"):
            kfold_by_group(dataset, folds, seed)
        return
    splits = kfold_by_group(dataset, folds, seed)
    assert len(splits) == folds
    for one in splits:
        check_disjoint(one)
        assert sum(map(len, one)) == len(dataset)
    for part in (1, 2):
        assert sorted(chain(*(contents(one)[part] for one in splits))) == list(range(len(groups)))
    sizes = [len(one.test.group.unique()) for one in splits]
    assert max(sizes) - min(sizes) <= 1


def test_two_folds_leave_no_room_for_validation():
    with pytest.raises(ValueError, match="from 3"):
        kfold_by_group(rows_of([1, 2, 3]), 2)


@given(
    st.lists(st.integers(-1, 2), min_size=1, max_size=60),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(0, 3),
)
def test_hidden_labels_are_nested_and_leave_one_per_class(target, one, other, seed):
    dataset = rows_of(list(range(len(target))), target)
    low, high = sorted([one, other])
    few, many = (hide_labels(dataset, fraction, seed).target for fraction in (low, high))
    kept = few >= 0
    assert torch.equal(few[kept], dataset.target[kept])
    assert torch.equal(many[kept], few[kept])
    for label in set(target) - {-1}:
        expected = max(1, int(low * target.count(label) + 0.5))
        assert int((few == label).sum()) == expected


def test_hide_labels_keeps_the_dataset_as_it_was():
    dataset = rows_of(list(range(30)))
    before = dataset.target.clone()
    hide_labels(dataset, 0.1)
    assert torch.equal(dataset.target, before)
    assert torch.equal(hide_labels(dataset, 1.0).target, before)
    assert not torch.equal(hide_labels(dataset, 0.5, 1).target, hide_labels(dataset, 0.5, 2).target)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_impossible_fraction_of_labels(fraction):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        hide_labels(rows_of([1, 2, 3]), fraction)


def several(rows: int, groups: int, classes: int = 3, seed: int = 0) -> PairedDataset:
    """Rows of several classes, every eleventh unlabelled."""
    target = torch.randint(0, 2, (rows, classes), generator=torch.Generator().manual_seed(seed))
    target[::11] = -1
    return rows_of([row % groups for row in range(rows)], classes=classes).replace(target=target)


@settings(max_examples=20)
@given(st.integers(12, 90), st.integers(3, 12), st.integers(0, 3))
def test_rows_of_several_classes_are_split_by_group(rows, groups, seed):
    splits = split_by_group(several(rows, groups), seed=seed)
    check_disjoint(splits)
    assert sorted(chain(*contents(splits))) == list(range(rows))
    assert all(part.multi_label for part in splits)


def test_the_split_spreads_a_rare_one_of_several_classes():
    dataset = several(240, 60)
    dataset.target[:, 2] = (dataset.group % 6 == 0).long()
    for seed in range(5):
        for part in split_by_group(dataset, (0.5, 0.25, 0.25), seed=seed):
            share = float((part.target[:, 2] == 1).double().mean())
            assert share == pytest.approx(1 / 6, abs=0.07)


@settings(max_examples=20)
@given(st.integers(2, 60), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 3))
def test_hidden_rows_of_several_classes_are_nested(rows, one, other, seed):
    dataset = several(rows, 1)
    few, many = (hide_labels(dataset, share, seed).target for share in sorted((one, other)))
    kept_few, kept_many = ((target >= 0).any(dim=1) for target in (few, many))
    assert bool((kept_many | ~kept_few).all())
    assert torch.equal(few[kept_few], dataset.target[kept_few])
    labelled = int((dataset.target >= 0).any(dim=1).sum())
    assert int(kept_few.sum()) == max(1, int(min(one, other) * labelled + 0.5))
