"""The fields of a row from lists, arrays, tensors and pandas columns."""

import numpy as np
import pandas as pd
import pytest
import torch

from xdistill.data.labels import keep_labels_of
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits, check_disjoint, split_groups

NAN = float("nan")


def pairs(rows=4, **changes) -> PairedDataset:
    options = {"inputs": {"eeg": torch.randn(rows, 2)}, "target": [0, 1] * (rows // 2)}
    return PairedDataset(**{**options, "classes": ("W", "N1"), **changes})


@pytest.mark.parametrize(
    "target",
    [
        ["W", "N1", "W", None],
        np.array(["W", "N1", "W", ""]),
        pd.Series(["W", "N1", "W", None]),
        pd.Series(["W", "N1", "W", NAN], dtype=object),
        pd.Series(["W", "N1", "W", None]).astype("category"),
        [0, 1, 0, -1],
        np.array([0, 1, 0, -1]),
        np.array([0, 1, 0, -1], dtype=">i4"),
        [np.int64(0), np.int64(1), np.int64(0), np.int64(-1)],
        [torch.tensor(0), torch.tensor(1), torch.tensor(0), torch.tensor(-1)],
        pd.Series([0, 1, 0, -1], index=[9, 8, 7, 6]),
        pd.Series([0.0, 1.0, 0.0, -1.0]),
    ],
)
def test_targets_by_name_and_by_number(target):
    data = pairs(target=target)
    assert data.target.tolist() == [0, 1, 0, -1] and data.target.dtype == torch.int64
    assert data.classes == ("W", "N1")
    assert data[0].target == 0 and isinstance(data[0].target, int)


def test_classes_follow_from_names_and_are_kept():
    data = pairs(target=["sit", "run", "sit", "jump"], classes=None)
    assert data.classes == ("jump", "run", "sit")
    assert data.target.tolist() == [2, 1, 2, 0]
    assert data.subset([0]).classes == data.classes
    assert data.replace(target=["run"] * 4).target.tolist() == [1] * 4


@pytest.mark.parametrize(
    ("target", "classes", "message"),
    [
        ([0, 1, 0, 1], None, "does not know what its classes are called; pass classes="),
        (["W", "N4", "W", "W"], ("W", "N1"), "target of row 1 is 'N4', expected one of"),
        ([0, None, 1, 0], ("W", "N1"), "not whole numbers|no numbers"),
        (["W", "W", "W", "W"], ("W", "W"), "two classes have one name"),
        ([0, 1, 0, 1], ("W", "W"), "two classes have one name"),
    ],
)
def test_targets_without_meaning(target, classes, message):
    with pytest.raises(ValueError, match=message):
        pairs(target=target, classes=classes)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
def test_groups_by_name(kind):
    data = pairs(group=kind(["s2", "s2", "s1", "s1"]))
    assert data.group.tolist() == [1, 1, 0, 0] and data.group_names == ("s1", "s2")
    part = data.subset([0, 1])
    assert part.group_names == ("s1", "s2") and part.name_of_group(int(part.group[0])) == "s2"
    assert data.replace(target=[0] * 4).group_names == ("s1", "s2")
    assert data.replace(group=[5, 5, 5, 5]).group_names is None
    kept = keep_labels_of(data, ["s2"])
    assert kept.target.tolist() == [0, 1, -1, -1]
    assert torch.equal(keep_labels_of(data, "s2").target, kept.target)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ([0.4, 0.4, 0.6, 0.6], r"group has values that are not whole numbers \(0.4\)"),
        ([1, None, 2, 2], "group of row 1 is missing .got None."),
        (["a", None, "b", "b"], "group of row 1 is missing .got None."),
        (pd.Series(["a", NAN, "b", "b"]), "group of row 1 is missing .got nan."),
        (pd.array([1, pd.NA, 2, 2], dtype="Int64"), "group of row 1 is missing"),
        ([1.0, NAN, 2.0, 2.0], "group of row 1 is missing .got "),
        (["a", " ", "b", "b"], "group of row 1 is missing .got ' '."),
    ],
)
def test_a_group_that_is_none(group, message):
    with pytest.raises(ValueError, match=message):
        pairs(group=group)


def test_groups_of_whole_floats_are_taken():
    assert pairs(group=pd.Series([1.0, 1.0, 3.0, 3.0])).group.tolist() == [1, 1, 3, 3]


def test_parts_by_the_names_of_groups():
    data = pairs(6, group=["c", "c", "a", "a", "b", "b"])
    splits = split_groups(data, train=["a"], val=["c"], test=["b"])
    assert [part.ids for part in splits] == [("2", "3"), ("0", "1"), ("4", "5")]
    with pytest.raises(ValueError, match="no group 'd'; its groups are a, b, c"):
        split_groups(data, train=["d"], val=["c"], test=["b"])
    with pytest.raises(ValueError, match="a group is a name or a whole number, got 0.4"):
        split_groups(pairs(6), train=[0.4], val=[1], test=[2])
    with pytest.raises(ValueError, match="group a of the dataset is in no part"):
        four = pairs(8, group=list("aabbccdd"))
        split_groups(four, train=["b"], val=["c"], test=["d"])


def test_parts_that_number_groups_in_their_own_way_are_compared_by_name():
    one, two = pairs(group=["a", "a", "b", "b"]), pairs(group=["c", "c", "d", "d"])
    three = pairs(group=["b", "b", "e", "e"])
    assert one.group.tolist() == two.group.tolist()
    check_disjoint(Splits(one, two, pairs(group=["x"] * 4)))
    with pytest.raises(ValueError, match="train and test share group b"):
        check_disjoint(Splits(one, two, three))
    with pytest.raises(ValueError, match="name the groups of all parts"):
        check_disjoint(Splits(one, two, pairs(group=[5] * 4)))


@pytest.mark.parametrize(
    "mask",
    [
        [True, False, True, True],
        [1, 0, 1, 1],
        [1.0, 0.0, 1.0, 1.0],
        np.array([1, 0, 1, 1], np.uint8),
        pd.Series([True, False, True, True]),
        torch.tensor([1, 0, 1, 1]),
    ],
)
def test_masks(mask):
    assert pairs(valid={"eeg": mask}).valid["eeg"].tolist() == [True, False, True, True]


@pytest.mark.parametrize("bad", [NAN, None, 2, 0.5])
def test_a_mask_of_something_else(bad):
    with pytest.raises(ValueError, match=r"valid\['eeg'\] holds .* in row 1, expected True or Fal"):
        pairs(valid={"eeg": [1, bad, 0, 1]})


@pytest.mark.parametrize("bad", [NAN, float("inf"), None])
def test_a_time_that_is_none(bad):
    with pytest.raises(ValueError, match="start_s .*row 1.*leave start_s out"):
        pairs(start_s=[0.0, bad, 60.0, 90.0])


@pytest.mark.parametrize("bad", ["", None, NAN, " "])
def test_a_name_that_is_none(bad):
    with pytest.raises(ValueError, match="ids of row 1 is missing"):
        pairs(ids=["a", bad, "c", "d"])


def test_ids_become_text():
    assert pairs(ids=np.array([7, 8, 9, 10])).ids == ("7", "8", "9", "10")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0.0, 1.0], "type float64 are neither positions nor a mask"),
        (torch.tensor([1, 0, 1, 0], dtype=torch.uint8), "uint8 .*mask.bool()"),
        (np.array([1, 0, 1, 0], np.uint8), "uint8 .*mask.bool()"),
        ([4], "position 4 is not in a dataset of 4 rows; pass positions from 0 to 3"),
        ([-1], "position -1"),
        (["0"], "type .*neither positions"),
    ],
)
def test_rows_that_are_no_positions(rows, message):
    with pytest.raises(ValueError, match=message):
        pairs().subset(rows)


def test_a_mask_of_pandas_selects():
    assert pairs().subset(pd.Series([False, True, False, True])).ids == ("1", "3")


@pytest.mark.parametrize(
    "column",
    [
        np.arange(8.0).reshape(4, 2),
        np.arange(8.0, dtype=">f8").reshape(4, 2),
        np.arange(8.0, dtype=">f4").reshape(4, 2),
        torch.arange(8.0, dtype=torch.float64).view(4, 2),
        np.arange(8.0).reshape(4, 2)[::-1][::-1],
        np.arange(8.0, dtype=np.longdouble).reshape(4, 2),
        list(np.arange(8.0).reshape(4, 2)),
        pd.Series(list(np.arange(8.0).reshape(4, 2))),
        [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]],
    ],
)
def test_columns_are_read_as_float32(column):
    data = pairs(inputs={"eeg": column})
    batch = data.__getitems__([3, 1]).batch()
    assert batch.inputs["eeg"].dtype == torch.float32
    assert batch.inputs["eeg"].tolist() == [[6, 7], [2, 3]]


def test_a_read_only_map_of_a_file(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(8.0).reshape(4, 2))
    column = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = pairs(inputs={"eeg": column})
    assert isinstance(data.inputs["eeg"], np.memmap)
    assert data.read("eeg", 2).tolist() == [4, 5]
    data.read("eeg", 2).zero_()
    assert column[2].tolist() == [4, 5]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.zeros((4, 2), complex), "eeg: all rows: expected numbers, got complex"),
        (torch.zeros(4, 2, dtype=torch.complex64), "eeg: all rows: expected numbers, got complex"),
        (np.array([[None, 1]] * 4, dtype=object), "eeg: all rows: expected numbers, got objects"),
        (np.array(["a.npy"] * 4), "got text; a column of paths needs a reader"),
        ((one for one in range(4)), "inputs.'eeg'. is a generator, expected"),
        (np.zeros(4, dtype=[("x", "f4")]), "structured array"),
    ],
)
def test_columns_of_no_numbers(column, message):
    with pytest.raises(TypeError, match=message):
        pairs(inputs={"eeg": column})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(2, complex), r"eeg: row 1 \(b\): expected numbers, got complex"),
        ("b.npy", r"eeg: row 1 \(b\): expected numbers, got text"),
        (None, r"eeg: row 1 \(b\): expected numbers, got objects"),
        ([[1.0], [1.0, 2.0]], r"eeg: row 1 \(b\) is no array"),
    ],
)
def test_rows_of_no_numbers(bad, message):
    data = pairs(inputs={"eeg": [np.zeros(2), bad, np.zeros(2), np.zeros(2)]}, ids="abcd")
    with pytest.raises(TypeError, match=message):
        data.read("eeg", 1)


def test_a_transform_may_ask_for_double_precision():
    data = pairs(transforms={"eeg": torch.Tensor.double})
    assert data.read("eeg", 0).dtype == torch.float64
