"""The published split and the clean one: groups, the missing validation part, empty parts."""

import pytest
import torch

from xdistill.data.paired import PairedDataset
from xdistill.data.published_split import (
    TEST,
    TRAIN,
    VAL,
    published_or_clean,
    published_split,
    split_in_order,
)
from xdistill.data.splits import Splits, check_disjoint


def rows(group: list[int]) -> PairedDataset:
    column = torch.arange(len(group)).float()[:, None]
    return PairedDataset({"eeg": column}, [0] * len(group), classes=("a",), group=group)


def ids(splits: Splits) -> list[list[str]]:
    return [list(part.ids) for part in splits]


def test_published_parts_are_kept():
    part = [VAL, TRAIN, TEST, TRAIN]
    splits = published_or_clean(rows([0, 0, 0, 1]), part, "set", "published")
    assert ids(splits) == [["1", "3"], ["0"], ["2"]]


def test_without_a_validation_part_val_is_test_with_a_warning():
    with pytest.warns(UserWarning, match="published split of set has no validation part: val is t"):
        splits = published_split(rows([0, 1, 2]), [TRAIN, TEST, TRAIN], "set")
    assert ids(splits) == [["0", "2"], ["1"], ["1"]]


def test_clean_training_rows_share_no_group_with_the_other_parts():
    part = [TRAIN, TRAIN, VAL, TEST, VAL, TRAIN]
    splits = published_or_clean(rows([0, 1, 1, 2, 2, 2]), part, "set", "clean")
    check_disjoint(splits)
    assert ids(splits) == [["0"], ["2"], ["3"]]


def test_clean_validation_groups_are_drawn_where_none_are_published():
    data = rows([row // 2 for row in range(40)])
    part = [TEST if row >= 30 else TRAIN for row in range(40)]
    splits = published_or_clean(data, part, "set", "clean")
    check_disjoint(splits)
    assert [len(one) for one in splits] == [26, 4, 10]  # 15 % of 15 groups
    assert ids(published_or_clean(data, part, "set", "clean")) == ids(splits)
    assert ids(published_or_clean(data, part, "set", "clean", seed=1)) != ids(splits)


def test_an_order_is_cut_at_60_and_80_per_cent():
    splits = split_in_order(rows([0] * 10), torch.arange(9, -1, -1))
    assert ids(splits) == [list("987654"), ["3", "2"], ["1", "0"]]
    check_disjoint(splits)  # each row is a group of its own


def test_empty_parts_and_unknown_splits_are_refused():
    with pytest.raises(ValueError, match="the split of set leaves no row for train; check its lis"):
        published_split(rows([0, 1]), [VAL, TEST], "set")
    with pytest.raises(ValueError, match="split is 'published' or 'clean', got 'random'"):
        published_or_clean(rows([0, 1]), [TRAIN, TEST], "set", "random")
