"""One reader of .npy files: shapes, NaN, pickles, labels that are not whole."""

import numpy as np
import pytest
import torch

from xdistill.data.files.arrays import open_array, read_array, read_features, read_labels


@pytest.fixture
def stored(tmp_path):
    def save(array):
        np.save(tmp_path / "a.npy", array)
        return tmp_path / "a.npy"

    return save


def test_numbers_become_float32(stored):
    array = read_array(stored(np.arange(6, dtype=np.int16).reshape(2, 3)), (5,), (None, 3))
    assert array.dtype == np.float32 and array.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("shape", [(2, 4), (3,), (0, 3), (1, 2, 3), ()])
def test_another_shape_is_refused(stored, shape):
    with pytest.raises(ValueError, match=r"a.npy holds an .* \(4,\) or \(any, 3\); pass x"):
        read_array(stored(np.zeros(shape)), (4,), (None, 3), advice="pass x")


def test_an_empty_array_is_refused(stored):
    with pytest.raises(ValueError, match=r"shape \(0,\), expected at least one value; copy"):
        read_array(stored(np.zeros(0)))


def test_nan_is_counted(stored):
    with pytest.raises(ValueError, match="2 of 3 values are NaN or infinite, expected none; pass"):
        read_array(stored(np.array([np.nan, 1, -np.inf])), advice="pass x")


@pytest.mark.parametrize(
    "array", [np.array([{}], object), np.array(["1", "2"]), np.array([1j]), np.array([b"1"])]
)
@pytest.mark.parametrize("read", [read_array, lambda path: open_array(path, "")])
def test_what_is_no_number_is_refused(stored, array, read):
    with pytest.raises(ValueError, match=r"a.npy cannot be read as a .npy array of numbers"):
        read(stored(array))


def test_an_archive_and_a_truncated_file_are_refused(stored, tmp_path):
    np.savez(tmp_path / "b.npz", a=np.zeros(2))
    cut = stored(np.zeros(100))
    cut.write_bytes(cut.read_bytes()[:-8])
    for path in (tmp_path / "b.npz", cut):
        for read in (read_array, lambda path: open_array(path, "")):
            with pytest.raises(ValueError, match="cannot be read as a .npy array"):
                read(path)


def test_windows_of_features_are_averaged(stored):
    assert read_features(stored(np.array([[1.0, 2], [3, 6]])), 2).tolist() == [2, 4]
    assert torch.equal(read_features(stored(np.array([1.0, 2]))), torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"expected \(3,\) or \(any, 3\)"):
        read_features(stored(np.zeros((1, 2))), 3)


@pytest.mark.parametrize(
    "array", [np.array([0.0, 2]), np.array([[0], [2]]), np.array([0, 2], "u1")]
)
def test_labels_are_whole_numbers(stored, array):
    labels = read_labels(stored(array), "")
    assert labels.dtype == np.int64 and labels.tolist() == [0, 2]


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 1e300])
def test_labels_that_are_not_whole_are_refused(stored, value):
    with pytest.raises(ValueError, match="float64 values that are not whole; copy it again"):
        read_labels(stored(np.array([0, value])), "")


def test_a_missing_array_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.npy is missing; see there"):
        read_labels(tmp_path / "a.npy", "see there")
