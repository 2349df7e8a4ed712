"""The S3VE adapter: its layouts, splits and columns."""

import json
import shutil

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.adapters.s3ve.release import annotate, annotations, file_of, first_clip, write_film
from xdistill.data.adapters.s3ve import s3ve
from xdistill.data.adapters.s3ve.eeg import read_epoch
from xdistill.data.files.clips import pick_frames, read_clip, write_clip
from xdistill.data.loader import paired_loader
from xdistill.registry import create_dataset


class TestClips:
    def test_shapes_units_and_order(self, whole):
        splits = s3ve(whole, frames=8, size=32)
        assert [len(part) for part in splits] == [24, 12, 12]
        assert splits.train.classes == ("W", "N1", "N2", "N3", "REM")
        sample = splits.train[0]
        assert sample.inputs["video"].shape == (1, 8, 32, 32)
        assert sample.inputs["video"].dtype == torch.float32
        assert 0 <= sample.inputs["video"].min() < sample.inputs["video"].max() <= 1
        assert sample.inputs["eeg"].shape == (1, 3000)
        assert splits.train.ids == tuple(sorted(splits.train.ids))  # subject and time

    def test_every_row_has_its_own_files_and_label(self, whole):
        splits = s3ve(whole, frames=30, size=48)
        database = annotations(whole)["database"]
        for row, clip_id in enumerate(splits.test.ids):
            label = database[clip_id]["annotations"]["label"]
            assert splits.test.classes[int(splits.test.target[row])] == label
            wave = np.load(whole / "eeg" / label / f"{clip_id}.npy")
            assert torch.equal(splits.test.read("eeg", row)[0], torch.from_numpy(wave))

    def test_published_split_shares_no_subject(self, whole):
        splits = s3ve(whole)
        groups = [set(part.group.tolist()) for part in splits]
        assert [len(part) for part in groups] == [2, 1, 1]
        assert len(set.union(*groups)) == 4

    def test_a_split_drawn_from_the_subjects(self, whole):
        splits = s3ve(whole, split="subjects", seed=3)
        groups = [set(part.group.tolist()) for part in splits]
        assert len(set.union(*groups)) == sum(map(len, groups)) == 4

    def test_colour(self, whole):
        assert s3ve(whole, channels=3, frames=2).train[0].inputs["video"].shape == (3, 2, 112, 112)

    def test_a_loader_makes_batches(self, whole):
        batch = next(iter(paired_loader(s3ve(whole, frames=4, size=16).train, 6)))
        assert batch.inputs["video"].shape == (6, 1, 4, 16, 16)
        assert batch.inputs["eeg"].shape == (6, 1, 3000)

    def test_jpeg_folders_and_films_show_the_same_as_hdf5(self, whole, root):
        path = file_of(whole, "video")
        expected = read_clip(path, channels=1)
        folder = root / "clip"
        folder.mkdir()
        with h5py.File(path) as file:
            for number, jpeg in enumerate(file["video"], start=1):
                (folder / f"image_{number:05d}.jpg").write_bytes(jpeg.tobytes())
        assert torch.equal(read_clip(folder), expected)
        film = root / "clip.mp4"
        write_film(film, expected[0].numpy())
        decoded = read_clip(film)
        assert decoded.shape == expected.shape
        assert (decoded.float() - expected.float()).abs().mean() < 6

    def test_all_three_kinds_are_found(self, root):
        file = file_of(root, "video")
        folder = file.with_suffix("")
        folder.mkdir()
        for number in range(30):
            Image.new("L", (20, 10), number).save(folder / f"image_{number + 1:05d}.jpg")
        file.unlink()
        video = s3ve(root, frames=30, size=12).train.read("video", 0)
        assert video.shape == (1, 30, 12, 12)
        assert video[0, :, 5, 5].mul(255).round().tolist() == pytest.approx(range(30), abs=2)

    def test_decoded_clips_stay_in_memory(self, root):
        train = s3ve(root, frames=4).train
        before = train.read("video", 0), train.read("eeg", 0)
        file_of(root, "video").unlink()
        file_of(root, "eeg").unlink()
        assert torch.equal(train.read("video", 0), before[0])
        assert torch.equal(train.read("eeg", 0), before[1])

    def test_nothing_stays_in_memory_without_room(self, root):
        train = s3ve(root, frames=4, keep_gib=0.0).train
        train.read("video", 0)
        file_of(root, "video").unlink()
        with pytest.raises(ValueError, match="cannot be read"):
            train.read("video", 0)

    @pytest.mark.parametrize(("shape", "expected"), [((512,), (512,)), ((7, 512), (512,))])
    def test_eeg_features_have_their_own_name(self, root, shape, expected):
        for path in root.glob("eeg/*/*.npy"):
            np.save(path, np.ones(shape, np.float32))
        sample = s3ve(root, frames=2).train[0]
        assert sorted(sample.inputs) == ["eeg_features", "video"]
        assert sample.inputs["eeg_features"].shape == expected

    def test_modalities_name_the_columns(self, root):
        shutil.rmtree(root / "video")
        train = s3ve(root, modalities=["eeg"]).train
        assert train.modalities == ("eeg",) and train[0].inputs["eeg"].shape == (1, 3000)
        shutil.rmtree(root / "eeg")
        with pytest.raises(FileNotFoundError, match="have no video file"):
            s3ve(root, modalities=["video"])

    def test_the_student_alone_needs_no_eeg(self, root):
        shutil.rmtree(root / "eeg")
        assert s3ve(root, modalities=["video"], frames=2).train.modalities == ("video",)

    def test_features_under_the_name_of_raw_eeg_are_refused(self, root):
        path = file_of(root, "eeg")
        np.save(path, np.ones(512, np.float32))
        train = s3ve(root, modalities=["eeg"]).train
        with pytest.raises(ValueError, match=r"\(512,\), expected \(3000,\) or \(any, 3000\)"):
            train.read("eeg", 0)

    def test_names_of_both_manuals_are_one_stage(self, whole, root):
        renamed = {"REM": "R", "N3": "S4", "N2": "S2"}
        content = annotations(root)
        content["labels"] = ["W", "N1", "S2", "S4", "R"]
        for entry in content["database"].values():
            label = entry["annotations"]["label"]
            entry["annotations"]["label"] = renamed.get(label, label)
        (root / "s3ve.json").write_text(json.dumps(content))
        for modality in ("video", "eeg"):
            for name, old in renamed.items():
                (root / modality / name).rename(root / modality / old)
        for part, expected in zip(s3ve(root), s3ve(whole), strict=True):
            assert part.classes == expected.classes == ("W", "N1", "N2", "N3", "REM")
            assert part.ids == expected.ids and torch.equal(part.target, expected.target)
            assert torch.equal(part.read("eeg", 0), expected.read("eeg", 0))

    def test_several_derivations(self, tmp_path):
        np.save(tmp_path / "eeg.npy", np.zeros((4, 3000)))
        assert read_epoch(tmp_path / "eeg.npy", 3000).shape == (4, 3000)

    def test_a_segment_chooses_frames(self, tmp_path):
        frames = np.arange(10, dtype=np.uint8)[:, None, None] * np.full((1, 16, 16), 20, np.uint8)
        write_clip(tmp_path / "a.hdf5", frames)
        clip = read_clip(tmp_path / "a.hdf5", segment=(3, 6))
        assert clip[0, :, 8, 8].tolist() == pytest.approx([40, 60, 80], abs=2)

    def test_frames_are_spread_evenly(self):
        assert pick_frames(4, None) == [0, 1, 2, 3]
        assert pick_frames(30, 3) == [5, 15, 25]
        assert pick_frames(2, 4) == [0, 0, 1, 1]
        assert max(pick_frames(7, 16)) == 6

    def test_registered_name(self, whole):
        assert len(create_dataset("s3ve", root=whole).val) == 12


class TestSample:
    def test_generated_in_the_cache_folder(self, whole, monkeypatch, tmp_path):
        asked = []

        def fake(root=None):
            asked.append(root)
            return whole

        monkeypatch.setattr("xdistill.data.adapters.s3ve.adapter.generate", fake)
        assert s3ve().train[0].inputs["video"].shape == (1, 30, 48, 48)
        assert s3ve(layout="sample", frames=10).train[0].inputs["video"].shape == (1, 10, 48, 48)
        assert asked == [None, None]


class TestSubjects:
    def test_the_public_annotations_need_a_pattern(self, root):
        annotate(root, lambda database: [entry.pop("subject") for entry in database.values()])
        with pytest.raises(ValueError, match=r"no key 'subject'.*pass subject_pattern"):
            s3ve(root)
        splits = s3ve(root, subject_pattern=r"^(s\d+)_")
        assert [len(part.group.unique()) for part in splits] == [2, 1, 1]

    @pytest.mark.parametrize("pattern", ["^x(.)", r"^s\d+"])
    def test_a_pattern_that_finds_nothing(self, whole, pattern):
        with pytest.raises(ValueError, match="finds no subject in the id"):
            s3ve(whole, subject_pattern=pattern)

    def test_a_leak_is_an_error_or_a_counted_warning(self, root):
        annotate(root, lambda database: database[first_clip(root)[0]].update(subset="testing"))
        with pytest.raises(ValueError, match=r"1 of 4 subjects are in more than one subset"):
            s3ve(root)
        with pytest.warns(UserWarning, match=r"1 of 4 subjects .*first: s01.*look better than"):
            assert len(s3ve(root, allow_leak=True).test) == 13
        assert len(s3ve(root, split="subjects").train) == 24

    def test_an_empty_subset(self, root):
        def change(database):
            for entry in database.values():
                if entry["subset"] == "validation":
                    entry["subset"] = "training"

        annotate(root, change)
        with pytest.raises(ValueError, match="no clip in validation; pass split='subjects'"):
            s3ve(root)
