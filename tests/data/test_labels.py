from itertools import pairwise

import pytest
import torch

import xdistill as xd
from tests.toy import toy_data


def labelled_groups(dataset):
    known = dataset.target >= 0
    rows = known.any(dim=1) if dataset.multi_label else known
    return set(dataset.group[rows].tolist())


def test_only_the_named_groups_keep_their_labels():
    data = toy_data(60)  # ten groups of six
    few = xd.keep_labels_of(data, [2, 5])
    assert labelled_groups(few) == {2, 5} and len(few) == 60
    assert torch.equal(
        few.target[few.target >= 0], data.target[torch.isin(data.group, torch.tensor([2, 5]))]
    )
    assert int((data.target < 0).sum()) == 0  # the caller's rows are as they were


def test_drawn_groups_are_nested_and_follow_the_seed():
    data = toy_data(120)
    drawn = [labelled_groups(xd.keep_labels_of(data, count, seed=3)) for count in range(1, 21)]
    assert [len(groups) for groups in drawn] == list(range(1, 21))
    assert all(fewer < more for fewer, more in pairwise(drawn))
    assert (
        len({frozenset(labelled_groups(xd.keep_labels_of(data, 3, seed=s))) for s in range(8)}) > 1
    )


def test_groups_without_labels_are_not_drawn():
    data = toy_data(60, unlabelled=30)  # groups 0 to 4 have none
    assert labelled_groups(xd.keep_labels_of(data, 5)) == {5, 6, 7, 8, 9}
    with pytest.raises(ValueError, match="from 1 to the 5 groups with labels, got 6"):
        xd.keep_labels_of(data, 6)


@pytest.mark.parametrize("groups", [[], [99], [1, 99], [1.7], ["s1"], True, [0]])
def test_groups_that_are_not_there_are_refused(groups):
    data = toy_data(60, unlabelled=6)  # group 0 has no labels
    with pytest.raises(ValueError, match=r"some of the groups with labels, \[1, 2, .*got"):
        xd.keep_labels_of(data, groups)


def test_rows_of_several_classes():
    data = toy_data(60)
    several = data.replace(target=torch.stack([data.target == k for k in range(3)], 1).long())
    few = xd.keep_labels_of(several, 2)
    assert len(labelled_groups(few)) == 2
    assert bool(((few.target == -1).all(dim=1) | (few.target >= 0).all(dim=1)).all())
