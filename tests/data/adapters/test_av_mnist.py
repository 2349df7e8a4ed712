"""AV-MNIST: arrays, both splits, what is refused."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.adapters.av_mnist import CARD, av_mnist
from xdistill.data.samples import write_av_mnist_sample


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_av_mnist_sample(tmp_path_factory.mktemp("av_mnist"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "avmnist"))


def test_the_clean_split_holds_a_tenth_of_each_digit_out(whole):
    splits = xd.create_dataset("av_mnist", root=str(whole))
    assert [len(part) for part in splits] == [90, 10, 40]
    assert splits.val.target.bincount().tolist() == [1] * 10
    xd.check_disjoint(splits)
    other = av_mnist(whole, seed=1)
    assert other.val.ids != splits.val.ids and other.test.ids == splits.test.ids


def test_the_published_split_chooses_on_the_test_part(whole):
    with pytest.warns(UserWarning, match="no validation part"):
        splits = av_mnist(whole, split="published")
    assert [len(part) for part in splits] == [100, 40, 40] and splits.val.ids == splits.test.ids


def test_rows_are_what_the_arrays_hold(whole):
    part = av_mnist(whole).train
    row = part.ids.index("train/37")
    image = np.load(whole / "image" / "train_data.npy")[37].reshape(1, 28, 28) / 255
    audio = np.load(whole / "audio" / "train_data.npy")[37][None] / 255
    np.testing.assert_allclose(part.read("image", row), image, rtol=1e-6)
    np.testing.assert_allclose(part.read("spectrogram", row), audio, rtol=1e-6)
    assert int(part.target[row]) == 7
    copy = pickle.loads(pickle.dumps(part))
    assert torch.equal(copy.read("spectrogram", row), part.read("spectrogram", row))
    batch = next(iter(xd.paired_loader(part, 4, num_workers=2)))
    assert torch.equal(batch.inputs["image"][2], part.read("image", 2))


def test_floats_are_kept_and_nan_is_refused(root):
    path = root / "image" / "train_data.npy"
    floats = np.load(path).astype(np.float32) * 3
    floats[0, 5] = np.nan
    np.save(path, floats)
    part = av_mnist(root).train
    row = part.ids.index("train/1")
    np.testing.assert_array_equal(part.read("image", row).flatten(), floats[1])
    splits = av_mnist(root)
    with pytest.raises(ValueError, match=r"NaN or infinite values in row 0"):
        for one in splits[:2]:
            for at in range(len(one)):
                one.read("image", at)


def test_one_modality_needs_no_arrays_of_the_other(root):
    shutil.rmtree(root / "audio")
    assert av_mnist(root, modalities=["image"]).train.modalities == ("image",)
    with pytest.raises(FileNotFoundError, match=r"audio/train_data.npy is missing; .*https://"):
        av_mnist(root)


def test_broken_arrays_are_named(root):
    path = root / "image" / "train_data.npy"
    content = path.read_bytes()
    for broken in (content[:1000], b"text"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"image/train_data.npy cannot be read"):
            av_mnist(root)
    np.save(path, np.zeros((100, 700), np.uint8))
    with pytest.raises(ValueError, match=r"rows of shape \(700,\), expected \(1, 28, 28\)"):
        av_mnist(root)
    np.save(path, np.zeros((99, 784), np.uint8))
    with pytest.raises(ValueError, match="99 rows, but there are 100 labels"):
        av_mnist(root)
    path.write_bytes(content)
    np.save(root / "test_labels.npy", np.arange(40))
    with pytest.raises(ValueError, match="test_labels.npy holds .*expected the digits 0 to 9"):
        av_mnist(root)
    (root / "test_labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match="test_labels.npy is missing"):
        av_mnist(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "image"}, "modalities is a list"),
        ({"split": "random"}, "'published' or 'clean'"),
    ],
)
def test_options_out_of_range(whole, options, message):
    with pytest.raises(ValueError, match=message):
        av_mnist(whole, **options)


def test_the_card(whole):
    assert all(any(whole.glob(pattern)) for pattern in CARD.files)
