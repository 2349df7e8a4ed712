"""NYU Depth V2: both files, scenes, rooms, both splits, what is refused."""

import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch.nn import functional as F

import xdistill as xd
from xdistill.data.adapters.nyu_depth_v2 import CARD, FILE, SPLITS_FILE, nyu_depth_v2
from xdistill.data.samples import write_nyu_depth_v2_sample

SMALL = {"size": (12, 16)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_nyu_depth_v2_sample(tmp_path_factory.mktemp("nyu"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "nyu"))


def test_rooms_are_kept_apart(whole):
    splits = xd.create_dataset("nyu_depth_v2", root=str(whole), **SMALL)
    assert sum(map(len, splits)) == 48 and len(splits.test) == 12
    xd.check_disjoint(splits)
    assert [len(part.group.unique()) for part in splits] == [15, 3, 6]
    assert {splits.train.classes[k] for k in splits.test.target} == {"bedroom", "kitchen", "other"}


def test_the_published_split_chooses_on_the_test_part(whole):
    with pytest.warns(UserWarning, match="no validation part"):
        splits = nyu_depth_v2(whole, split="published", **SMALL)
    assert [len(part) for part in splits] == [36, 12, 12]


def test_rows_are_the_frames_upright(whole):
    part = nyu_depth_v2(whole, size=(48, 64)).train
    with h5py.File(whole / FILE) as file:
        for row in (0, 20, len(part) - 1):
            at = int(part.ids[row].removeprefix("frame")) - 1
            image = file["images"][at].transpose(0, 2, 1) / 255  # MATLAB's axes are turned round
            np.testing.assert_allclose(part.read("image", row), image, rtol=1e-6)
            np.testing.assert_array_equal(part.read("depth_image", row)[0], file["depths"][at].T)
    small = nyu_depth_v2(whole, **SMALL).train
    averaged = F.avg_pool2d(part.read("depth_image", 3)[None], 4)[0]
    torch.testing.assert_close(small.read("depth_image", 3), averaged)
    assert small.read("image", 3).shape == (3, 12, 16)


def test_workers_load_it(whole):
    part = nyu_depth_v2(whole, modalities=["depth_image"], **SMALL).train
    part.read("depth_image", 0)  # the open file does not travel
    copy = pickle.loads(pickle.dumps(part))
    assert torch.equal(copy.read("depth_image", 1), part.read("depth_image", 1))
    batch = next(iter(xd.paired_loader(part, 4, num_workers=2)))
    assert torch.equal(batch.inputs["depth_image"][2], part.read("depth_image", 2))


def test_missing_and_broken_files_are_named(root):
    path = root / FILE
    content = path.read_bytes()
    path.write_bytes(b"MATLAB 5.0")
    with pytest.raises(ValueError, match=f"{FILE} cannot be read as a MATLAB 7.3 file"):
        nyu_depth_v2(root)
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        file["depths"][0] = np.nan
        del file["sceneTypes"]
        file["sceneTypes"] = file["scenes"][:, :5]
    with pytest.raises(ValueError, match="5 sceneTypes and 48 scenes"):
        nyu_depth_v2(root)
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        file["depths"][0] = np.nan
    splits = nyu_depth_v2(root)
    with pytest.raises(ValueError, match="NaN or infinite values in row 0 of depths"):
        for part in splits:
            for row in range(len(part)):
                part.read("depth_image", row)
    savemat(root / SPLITS_FILE, {"trainNdxs": np.arange(1, 40), "testNdxs": np.arange(38, 49)})
    with pytest.raises(ValueError, match="does not name each of the 48 frames once"):
        nyu_depth_v2(root)
    (root / SPLITS_FILE).write_bytes(b"text")
    with pytest.raises(ValueError, match="cannot be read as a MATLAB 5 file"):
        nyu_depth_v2(root)
    (root / SPLITS_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"splits.mat is missing; .*https://cs.nyu.edu"):
        nyu_depth_v2(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ["text"]}, "modalities is a list"),
        ({"split": "random"}, "'published' or 'clean'"),
        ({"size": (0, 5)}, "1 or more"),
    ],
)
def test_options_out_of_range(whole, options, message):
    with pytest.raises(ValueError, match=message):
        nyu_depth_v2(whole, **options)


def test_the_card(whole):
    assert all((whole / name).is_file() for name in CARD.files)


def test_images_in_another_file_are_followed_where_that_is_allowed(root, whole):
    with h5py.File(root / FILE, "r+") as file, h5py.File(root / "elsewhere.mat", "w") as there:
        file.copy("images", there)
        del file["images"]
        file["images"] = h5py.ExternalLink("elsewhere.mat", "images")
    told = rf"{FILE}: 'images' is a link to another file.*pass allow_outside=True$"
    with pytest.raises(ValueError, match=told):
        nyu_depth_v2(root, **SMALL)
    linked = nyu_depth_v2(root, allow_outside=True, **SMALL).train
    expected = nyu_depth_v2(whole, **SMALL).train
    torch.testing.assert_close(linked.read("image", 3), expected.read("image", 3))
