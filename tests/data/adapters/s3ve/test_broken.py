"""The S3VE adapter and what may be wrong with a release."""

import json
import re

import h5py
import numpy as np
import pytest

from tests.data.adapters.s3ve.release import annotate, annotations, file_of, first_clip
from xdistill.data.adapters.s3ve import s3ve
from xdistill.data.adapters.s3ve.eeg import read_epoch
from xdistill.data.files.clips import read_clip, write_clip
from xdistill.data.loader import paired_loader


class TestBroken:
    def test_missing_root(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"s3ve.json is missing.*arXiv 2208.05814"):
            s3ve(tmp_path)

    def test_unknown_layout(self, whole):
        with pytest.raises(ValueError, match="layout 'nights' is unknown"):
            s3ve(whole, layout="nights")

    @pytest.mark.parametrize("layout", ["clips", "features"])
    def test_layout_without_root(self, layout):
        with pytest.raises(ValueError, match="needs the dataset's root"):
            s3ve(layout=layout)

    @pytest.mark.parametrize("text", ["{", "[]", '{"labels": ["W"]}', '{"database": {}}'])
    def test_annotations_that_are_none(self, root, text):
        (root / "s3ve.json").write_text(text)
        with pytest.raises(ValueError, match=r"s3ve.json cannot be used .*expected"):
            s3ve(root)

    def test_annotations_without_a_clip(self, root):
        (root / "s3ve.json").write_text('{"labels": ["W"], "database": {}}')
        with pytest.raises(ValueError, match="holds no clip"):
            s3ve(root)

    def test_unknown_label(self, root):
        clip_id, _ = first_clip(root)
        annotate(root, lambda database: database[clip_id]["annotations"].update(label="N4"))
        with pytest.raises(ValueError, match=f"clip {clip_id} has label 'N4', expected one of W"):
            s3ve(root)

    @pytest.mark.parametrize("label", ["?", "Movement time", 2])
    def test_labels_that_are_no_stage(self, root, label):
        clip_id, _ = first_clip(root)
        content = annotations(root)
        content["labels"].append(label)
        content["database"][clip_id]["annotations"]["label"] = label
        (root / "s3ve.json").write_text(json.dumps(content))
        message = re.escape(f"clip {clip_id} has label '{label}', expected one of W")
        with pytest.raises(ValueError, match=message):
            s3ve(root)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"modalities": ["depth"]}, "one or more of 'video', 'eeg', 'eeg_features', got"),
            ({"modalities": "video"}, "modalities is a list"),
            ({"modalities": ["eeg", "eeg_features"]}, "name one of them"),
            ({"split": "random"}, "split is 'published', 'subjects' or None, got 'random'"),
            ({"frames": 0}, "frames and size must be 1 or more"),
            ({"size": 0}, "frames and size must be 1 or more"),
            ({"channels": 2}, "channels 1 or 3"),
        ],
    )
    def test_options_out_of_range(self, whole, options, message):
        with pytest.raises(ValueError, match=message):
            s3ve(whole, **options)

    def test_unknown_subset(self, root):
        annotate(root, lambda database: database[first_clip(root)[0]].update(subset="train"))
        with pytest.raises(ValueError, match="subset 'train', expected one of training"):
            s3ve(root)

    def test_missing_video_is_counted_before_training(self, root):
        file_of(root, "video").unlink()
        clip_id, _ = first_clip(root)
        expected = rf"1 of 48 clips have no video file \(first: {clip_id}\).*2208.05814"
        with pytest.raises(FileNotFoundError, match=expected):
            s3ve(root)

    def test_missing_eeg_is_one_warning_and_an_invalid_row(self, root):
        file_of(root, "eeg").unlink()
        with pytest.warns(UserWarning, match=r"1 of 48 clips have no EEG file \(first: ") as caught:
            train = s3ve(root, frames=2).train
        assert len(caught) == 1
        assert train.valid["eeg"].tolist() == [False] + [True] * 23
        batch = next(iter(paired_loader(train, 4)))
        assert batch.valid["eeg"].tolist() == [False, True, True, True]
        assert not batch.inputs["eeg"][0].any()

    def test_truncated_hdf5(self, root):
        path = file_of(root, "video")
        path.write_bytes(path.read_bytes()[:500])
        train = s3ve(root).train
        with pytest.raises(ValueError, match=re.escape(str(path)) + ".*may be truncated"):
            train[0]

    def test_hdf5_without_the_dataset(self, tmp_path):
        with h5py.File(tmp_path / "a.hdf5", "w") as file:
            file["frames"] = np.zeros(3)
        with pytest.raises(ValueError, match=r"cannot be read.*video"):
            read_clip(tmp_path / "a.hdf5")

    def test_truncated_jpeg(self, tmp_path):
        path = tmp_path / "a.hdf5"
        write_clip(path, np.zeros((2, 32, 32), np.uint8))
        with h5py.File(path, "r+") as file:
            file["video"][1] = file["video"][1][:40]
        with pytest.raises(ValueError, match="a frame that cannot be decoded"):
            read_clip(path)

    def test_video_without_frames(self, tmp_path):
        write_clip(tmp_path / "a.hdf5", np.zeros((0, 8, 8), np.uint8))
        (tmp_path / "b").mkdir()
        for path in (tmp_path / "a.hdf5", tmp_path / "b"):
            with pytest.raises(ValueError, match="holds no frame"):
                read_clip(path)

    def test_video_that_ends_before_its_segment(self, tmp_path):
        write_clip(tmp_path / "a.hdf5", np.zeros((20, 8, 8), np.uint8))
        with pytest.raises(ValueError, match=r"holds 20 frames, but its segment is \[1, 31\]"):
            read_clip(tmp_path / "a.hdf5", segment=(1, 31))

    def test_a_film_that_is_none(self, tmp_path):
        (tmp_path / "a.mp4").write_bytes(b"not a film")
        with pytest.raises(ValueError, match=r"a.mp4 cannot be read"):
            read_clip(tmp_path / "a.mp4")

    @pytest.mark.parametrize("shape", [(2999,), (2, 2999), (1, 1, 3000), (0, 3000), (512,), ()])
    def test_eeg_of_wrong_shape(self, tmp_path, shape):
        np.save(tmp_path / "eeg.npy", np.zeros(shape, np.float32))
        with pytest.raises(ValueError, match=r"eeg.npy holds an array .*expected \(3000,\) or"):
            read_epoch(tmp_path / "eeg.npy", 3000)

    def test_eeg_that_is_no_array(self, tmp_path):
        (tmp_path / "eeg.npy").write_text("1 2 3")
        with pytest.raises(ValueError, match=r"cannot be read as a \.npy array"):
            read_epoch(tmp_path / "eeg.npy", 3000)

    def test_eeg_is_never_unpickled(self, tmp_path):
        np.save(tmp_path / "eeg.npy", np.array([{}], object))
        with pytest.raises(ValueError, match="cannot be read"):
            read_epoch(tmp_path / "eeg.npy", 3000)

    def test_nan_in_eeg(self, root):
        path = file_of(root, "eeg")
        wave = np.load(path)
        wave[7:9] = np.nan
        np.save(path, wave)
        with pytest.raises(ValueError, match=r"2 of 3000 values are NaN"):
            s3ve(root).train[0]
