"""CCL's layout of ActivityNet and VGGSound: annotations, files, splits, what is refused."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.adapters.ccl import ACTIVITYNET, VGGSOUND
from xdistill.data.files.clips import read_clip
from xdistill.data.files.panns import FOLDERS
from xdistill.data.samples import write_ccl_sample

SMALL = {"frames": 2, "size": 24}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_ccl_sample(tmp_path_factory.mktemp("activitynet"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "activitynet"))


def load(root: Path, **options) -> xd.Splits:
    return xd.create_dataset("activitynet", root=str(root), **{**SMALL, **options})


def test_both_splits(whole):
    splits = load(whole)
    assert [len(part) for part in splits] == [15, 3, 6]
    xd.check_disjoint(splits)
    with pytest.warns(UserWarning, match="no validation part"):
        published = load(whole, split="published")
    assert [len(part) for part in published] == [18, 6, 6]
    assert published.test.ids == splits.test.ids and published.val.ids == splits.test.ids
    assert load(whole, seed=1).val.ids != splits.val.ids


def test_a_published_validation_part_is_kept_where_there_is_a_test_part(root):
    path = root / "activitynet_13.json"
    content = json.loads(path.read_text())
    held = [key for key, one in content["database"].items() if one["subset"] == "validation"]
    for key in held[:3]:
        content["database"][key]["subset"] = "testing"
    path.write_text(json.dumps(content))
    for split in ("clean", "published"):
        splits = load(root, split=split)
        assert [len(part) for part in splits] == [18, 3, 3]
        assert set(splits.test.ids) == set(held[:3]) and set(splits.val.ids) == set(held[3:])


def test_rows_are_what_the_files_hold(whole):
    part = load(whole).train
    row, name = 4, load(whole).train.ids[4]
    features = np.load(whole / FOLDERS[0] / f"v_{name}.npy").mean(axis=0)
    np.testing.assert_allclose(part.read("audio_features", row), features, rtol=1e-5)
    clip = read_clip(whole / "jpg" / f"v_{name}", segment=(1, 5), channels=3, **SMALL)
    assert torch.equal(part.read("video", row), clip.float() / 255)
    copy = pickle.loads(pickle.dumps(part))
    assert torch.equal(copy.read("video", row), part.read("video", row))
    batch = next(iter(xd.paired_loader(part, 4, num_workers=2)))
    assert torch.equal(batch.inputs["audio_features"][3], part.read("audio_features", 3))


def test_files_may_lie_in_folders_of_their_class(root):
    content = json.loads((root / "activitynet_13.json").read_text())["database"]
    before = load(root).train.read("video", 0)
    for key, one in content.items():
        label = one["annotations"]["label"]
        for folder, name in (("jpg", f"v_{key}"), (FOLDERS[0], f"v_{key}.npy")):
            target = root / folder / label / name.removeprefix("v_")
            target.parent.mkdir(exist_ok=True)
            (root / folder / name).rename(target)
    assert torch.equal(load(root).train.read("video", 0), before)


def test_one_modality_needs_no_files_of_the_other(root):
    shutil.rmtree(root / "jpg")
    assert load(root, modalities=["audio_features"]).train.modalities == ("audio_features",)


def test_vggsound_has_the_same_layout(tmp_path):
    root = write_ccl_sample(tmp_path, name="vggsound")
    splits = xd.create_dataset("vggsound_ccl", root=root, modalities=["audio_features"])
    assert [len(part) for part in splits] == [15, 3, 6]
    assert all(any(root.glob(pattern)) for pattern in VGGSOUND.files)
    with pytest.raises(FileNotFoundError, match=r"activitynet\*.json is missing"):
        load(root)


def test_missing_files_are_named(root, tmp_path):
    name = load(root).train.ids[0]
    (root / FOLDERS[0] / f"v_{name}.npy").unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of 24 clips lack .*first: {name}.*https://"):
        load(root)
    with pytest.warns(UserWarning, match="1 of 24 clips are left out"):
        assert sum(map(len, load(root, allow_missing=True))) == 23
    shutil.rmtree(root / FOLDERS[0])
    with pytest.raises(FileNotFoundError, match="24 of 24 clips"):
        load(root, allow_missing=True)


def test_broken_annotations_are_named(root):
    path = root / "activitynet_13.json"
    content = path.read_text()
    for old, new, message in (
        ("{", "[", "cannot be used"),
        ('"labels"', '"names"', "KeyError: 'labels'"),
        ('"training"', '"training2"', "subset 'training2'"),
        ('"label": "Archery"', '"label": "Archer"', "label 'Archer'"),
    ):
        path.write_text(content.replace(old, new, 1))
        with pytest.raises(ValueError, match=message):
            load(root)
    path.write_text(content)
    (root / "activitynet_old.json").write_text(content)
    with pytest.raises(ValueError, match=r"holds the annotations activitynet_13.json, activ"):
        load(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "video"}, "modalities is a list"),
        ({"modalities": ["audio"]}, "one or more of 'audio_features', 'video'"),
        ({"split": "random"}, "'published' or 'clean'"),
        ({"frames": 0}, "1 or more"),
        ({"channels": 2}, "channels 1 or 3"),
    ],
)
def test_options_out_of_range(whole, options, message):
    with pytest.raises(ValueError, match=message):
        load(whole, **options)


def test_the_card(whole):
    assert all(any(whole.glob(pattern)) for pattern in ACTIVITYNET.files)
