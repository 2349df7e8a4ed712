from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

import xdistill as xd
from xdistill.data.adapters.utd_mhad import clips
from xdistill.data.adapters.utd_mhad.adapter import ACTIONS, RandomShift, utd_mhad
from xdistill.data.collate import collate
from xdistill.data.samples.utd_mhad import make_clip, write_utd_mhad_sample
from xdistill.data.splits import check_disjoint

SMALL = {"frames": 4, "size": (16, 12), "steps": 32}


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    return write_utd_mhad_sample(tmp_path_factory.mktemp("utd_mhad"))


def test_the_published_split(sample):
    splits = xd.create_dataset("utd_mhad", root=str(sample), **SMALL)
    check_disjoint(splits)
    assert splits.train.group.unique().tolist() == [1, 3, 5]
    assert splits.val.group.unique().tolist() == [7]
    assert splits.test.group.unique().tolist() == [2, 4, 6, 8]
    assert [len(part) for part in splits] == [6, 2, 8]
    assert splits.train.classes == ("swipe left", "cross arms")
    assert splits.test.ids[0] == "a1_s2_t1"


def test_the_other_way_round(sample):
    splits = utd_mhad(
        sample, modalities=["inertial"], train_subjects="even", val_subject=4, **SMALL
    )
    assert [part.group.unique().tolist() for part in splits] == [[2, 6, 8], [4], [1, 3, 5, 7]]


def test_a_batch(sample):
    splits = utd_mhad(sample, modalities=("skeleton", "depth", "inertial"), **SMALL)
    for part in splits:
        batch = collate([part[row] for row in range(len(part))])
        shapes = {name: tuple(x.shape[1:]) for name, x in batch.inputs.items()}
        assert shapes == {"depth": (1, 4, 16, 12), "inertial": (6, 32), "skeleton": (3, 4, 20)}
        for name, x in batch.inputs.items():
            assert x.dtype == torch.float32
            xd.get_modality(name).check(x)
    pickle.dumps(splits)


def test_only_the_training_clips_are_shifted(sample):
    splits = utd_mhad(sample, **SMALL)
    drawn = {tuple(splits.train[0].inputs["depth"].flatten().tolist()) for _ in range(20)}
    assert len(drawn) > 3
    assert torch.equal(splits.test[0].inputs["depth"], splits.test[0].inputs["depth"])
    plain = utd_mhad(sample, max_shift_px=0, **SMALL)
    assert torch.equal(plain.train[0].inputs["depth"], plain.train[0].inputs["depth"])


def test_a_missing_teacher_is_marked_and_counted(tmp_path):
    root = write_utd_mhad_sample(tmp_path, modalities=("depth", "inertial"))
    (root / "Inertial" / "a6_s3_t1_inertial.mat").unlink()
    (root / "Inertial" / "a1_s2_t1_inertial.mat").unlink()
    assert [len(part) for part in utd_mhad(root, **SMALL)] == [5, 2, 7]
    with pytest.warns(UserWarning, match="2 of 16 clips have no inertial file .first: a1_s2_t1"):
        splits = utd_mhad(root, require=["depth"], **SMALL)
    assert [len(part) for part in splits] == [6, 2, 8]
    (row,) = (~splits.train.valid["inertial"]).nonzero().flatten().tolist()
    assert splits.train.ids[row] == "a6_s3_t1"
    assert set(splits.train[row].inputs) == {"depth"}


def test_chosen_actions(sample):
    splits = utd_mhad(sample, modalities=["skeleton"], actions=[6], **SMALL)
    assert splits.train.classes == ("cross arms",)
    assert splits.train.target.unique().tolist() == [0]


def test_depth_is_decoded_once(sample, tmp_path, monkeypatch):
    first = utd_mhad(sample, cache=tmp_path, **SMALL)
    monkeypatch.setattr(clips, "_read_depth", None)
    second = utd_mhad(sample, cache=tmp_path, **SMALL)
    assert torch.equal(first.test[0].inputs["depth"], second.test[0].inputs["depth"])
    with pytest.raises(TypeError):
        utd_mhad(sample, cache=tmp_path, **{**SMALL, "frames": 5})


def test_the_decoded_clips_follow_the_files(tmp_path):
    root = write_utd_mhad_sample(tmp_path / "data", modalities=("depth",))
    options = {"modalities": ["depth"], "cache": tmp_path / "cache", **SMALL}
    before = utd_mhad(root, **options).test[0].inputs["depth"]
    changed = make_clip(1, 2, 1)["depth"][1]
    changed[100:140] = 0
    savemat(root / "Depth" / "a1_s2_t1_depth.mat", {"d_depth": changed})
    assert not torch.equal(utd_mhad(root, **options).test[0].inputs["depth"], before)


def test_a_depth_clip_shows_relief_and_silhouette():
    depth_mm = torch.zeros(3, 100, 100)
    depth_mm[:, 20:60, 30:50] = 3000
    depth_mm[:, 20:40, 30:50] = 2600  # the upper half is 40 cm nearer
    clip = clips.depth_clip(depth_mm, (8, 8))
    assert clip.shape == (1, 3, 8, 8)
    frame = clip[0, 0]  # the box is 40x40 and the person fills its middle columns
    assert torch.allclose(frame[:4, 2:6], torch.tensor(0.2))
    assert torch.allclose(frame[4:, 2:6], torch.tensor(-0.2))
    assert torch.equal(frame[:, [0, 1, 6, 7]], torch.full((8, 4), -1.0))


def test_a_depth_clip_does_not_depend_on_where_the_person_stands():
    depth_mm = torch.zeros(2, 120, 160)
    depth_mm[0, 40:100, 60:90] = 2500
    depth_mm[1, 40:80, 60:90] = 2500
    further = torch.roll(depth_mm, (-15, 40), (1, 2))
    further = torch.where(further > 0, further + 300, 0.0)
    torch.testing.assert_close(
        clips.depth_clip(depth_mm, (12, 9)), clips.depth_clip(further, (12, 9))
    )


@pytest.mark.parametrize("columns", [slice(0, 20), slice(140, 160)])
def test_a_person_at_the_edge_of_the_image(columns):
    depth_mm = torch.zeros(2, 120, 160)
    depth_mm[:, :, columns] = 2500
    clip = clips.depth_clip(depth_mm, (12, 9))
    assert torch.isfinite(clip).all()
    assert float(clip[0, 0, :, 4].max()) == pytest.approx(0, abs=1e-6)
    assert float(clip.min()) == -1


def test_skeletons_start_at_the_hip(sample):
    splits = utd_mhad(sample, modalities=["skeleton"], **SMALL)
    skeleton = splits.train[0].inputs["skeleton"]
    assert torch.equal(skeleton[:, 0, clips.HIP_CENTRE], torch.zeros(3))
    joints = make_clip(1, 1, 1)["skeleton"][1]
    expected = joints[:, :, -1] - joints[clips.HIP_CENTRE, :, 0]
    np.testing.assert_allclose(skeleton[:, -1].T, expected, atol=1e-5)


def test_inertial_clips_keep_units_and_ends(sample):
    signal = utd_mhad(sample, modalities=["inertial"], **SMALL).train[0].inputs["inertial"]
    recorded = make_clip(1, 1, 1)["inertial"][1]
    np.testing.assert_allclose(signal[:, 0], recorded[0], atol=1e-4)
    np.testing.assert_allclose(signal[:, -1], recorded[-1], atol=1e-4)
    assert signal[3:].abs().max() > 50


def test_a_shift_moves_every_frame_alike():
    clip = torch.rand(1, 5, 10, 8) + 1
    shifted = RandomShift(2)(clip)
    assert shifted.shape == clip.shape
    moved = (shifted == -1).all(dim=1)
    assert torch.equal(moved, (shifted == -1).any(dim=1))
    assert torch.equal(RandomShift(0)(clip), clip)


def test_missing_data_say_whose_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Depth is missing\. UTD-MHAD is .*Dallas"):
        utd_mhad(tmp_path)
    (tmp_path / "Depth").mkdir()
    (tmp_path / "Depth" / "._a1_s1_t1_depth.mat").touch()
    with pytest.raises(FileNotFoundError, match=r"no file named a1_s1_t1_depth\.mat"):
        utd_mhad(tmp_path)
    root = write_utd_mhad_sample(tmp_path / "half", subjects=(1, 3, 5, 7), modalities=("inertial",))
    with pytest.raises(FileNotFoundError, match=r"no clip of subject \[2, 4, 6, 8\]"):
        utd_mhad(root, modalities=["inertial"])


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n" * 10)


def _shape(path: Path) -> None:
    savemat(path, {"d_iner": np.zeros((6, 120))})


def _variable(path: Path) -> None:
    savemat(path, {"inertial": np.zeros((120, 6))})


def _nan(path: Path) -> None:
    savemat(path, {"d_iner": np.full((120, 6), np.nan)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "cannot be read as a MATLAB 5 file"),
        (_empty, "cannot be read as a MATLAB 5 file"),
        (_text, "cannot be read as a MATLAB 5 file"),
        (_shape, r"d_iner has shape \(6, 120\), expected \('time', 6\)"),
        (_variable, r"holds \['inertial'\], expected the variable 'd_iner'"),
        (_nan, "NaN or infinity"),
    ],
)
def test_damaged_files_are_named(tmp_path, damage, message):
    root = write_utd_mhad_sample(tmp_path, modalities=("inertial",))
    damage(root / "Inertial" / "a6_s3_t1_inertial.mat")
    with pytest.raises(ValueError, match=f"a6_s3_t1_inertial.mat.*{message}"):
        utd_mhad(root, modalities=["inertial"])


def test_an_empty_scene_is_named(tmp_path):
    root = write_utd_mhad_sample(tmp_path, modalities=("depth",))
    savemat(root / "Depth" / "a1_s1_t1_depth.mat", {"d_depth": np.zeros((240, 320, 5), np.uint16)})
    with pytest.raises(ValueError, match=r"a1_s1_t1_depth.mat: .*every pixel is 0"):
        utd_mhad(root, modalities=["depth"], cache=tmp_path, **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ["rgb"]}, "one or more of 'depth', 'inertial', 'skeleton'"),
        ({"modalities": "depth"}, "modalities is a list"),
        ({"require": []}, "modalities is a list"),
        ({"train_subjects": "first"}, "'odd' or 'even'"),
        ({"val_subject": 2}, r"one of the training subjects \[1, 3, 5, 7\], got 2"),
        ({"frames": 0}, "1 or more"),
    ],
)
def test_options_out_of_range(sample, options, message):
    with pytest.raises(ValueError, match=message):
        utd_mhad(sample, **options)


def test_twenty_seven_actions():
    assert len(set(ACTIONS)) == 27


def test_the_real_files(shared_data, tmp_path):
    root = shared_data("utd_mhad")
    counts = {name: len(clips.find_clips(root, name)) for name in clips.SOURCES}
    assert counts == {"depth": 255, "inertial": 861, "skeleton": 861}
    splits = utd_mhad(root, modalities=["inertial", "skeleton"], frames=8, steps=64)
    assert sum(map(len, splits)) == 861
    assert len(splits.train.classes) == 27
    paired = utd_mhad(root, modalities=["inertial"], require=["depth", "inertial"])
    assert [len(part) for part in paired] == [95, 32, 128]
    assert len(paired.train.classes) == 8
    column = clips.depth_column(
        [root / "Depth" / f"a1_s{s}_t1_depth.mat" for s in (1, 8)], 16, (48, 36), tmp_path
    )
    assert column.shape == (2, 1, 16, 48, 36) and column.dtype == torch.float16
    person = column > -0.99
    assert 0.1 < float(person.float().mean()) < 0.7
    assert abs(float(column[column > -0.6].float().mean())) < 0.1


@pytest.mark.slow
def test_all_the_real_depth_clips(shared_data, tmp_path):
    splits = utd_mhad(shared_data("utd_mhad"), cache=tmp_path)
    assert [len(part) for part in splits] == [95, 32, 128]
    assert splits.train.classes == ACTIONS[:8]
