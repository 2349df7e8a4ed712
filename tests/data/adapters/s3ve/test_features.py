"""The S3VE adapter on tables of features."""

from pathlib import Path

import numpy as np
import pytest
import torch

from xdistill.data.adapters.s3ve import s3ve


class TestFeatures:
    @pytest.fixture
    def table(self, tmp_path) -> Path:
        rng = np.random.default_rng(0)
        lines = ["id,subject,label,video,eeg,start_s"]
        for subject in range(6):
            for clip in range(4):
                name = f"{subject}-{clip}"
                np.save(tmp_path / f"v{name}.npy", rng.normal(size=(16,)))
                np.save(tmp_path / f"e{name}.npy", rng.normal(size=(3, 8)))
                line = f"{name},p{subject},N2,v{name}.npy,e{name}.npy,{30 * (4 - clip)}"
                lines.append(line)
        (tmp_path / "s3ve.csv").write_text("\n".join(lines))
        return tmp_path

    def change(self, table: Path, old: str, new: str) -> None:
        text = (table / "s3ve.csv").read_text()
        (table / "s3ve.csv").write_text(text.replace(old, new, 1))

    def test_split_by_subject_and_ordered_by_time(self, table):
        splits = s3ve(table, layout="features")
        groups = [set(part.group.tolist()) for part in splits]
        assert len(set.union(*groups)) == sum(map(len, groups)) == 6
        sample = splits.train[0]
        assert sample.inputs["video_features"].shape == (16,)
        assert sample.inputs["eeg_features"].shape == (8,)
        assert [name[-1] for name in splits.train.ids[:4]] == ["3", "2", "1", "0"]

    def test_the_windows_of_a_clip_are_averaged(self, table):
        train = s3ve(table, layout="features").train
        stored = np.load(table / f"e{train.ids[0]}.npy").astype(np.float32)
        torch.testing.assert_close(
            train.read("eeg_features", 0), torch.from_numpy(stored.mean(axis=0))
        )

    def test_row_without_eeg(self, table):
        self.change(table, "e0-0.npy", "")
        with pytest.warns(UserWarning, match="1 of 24 clips have no EEG file"):
            splits = s3ve(table, layout="features")
        assert sum(int((~part.valid["eeg_features"]).sum()) for part in splits) == 1

    def test_missing_table(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"s3ve.csv is missing.*columns id, subject"):
            s3ve(tmp_path, layout="features")

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("subject,label", "person,label", r"lacks \['subject'\]"),
            ("N2", "S5", "label 'S5', expected one of W, Wake, N1, S1, N2"),
            ("N2", "2", "label '2', expected one of W"),
            ("N2", "MT", "label 'MT', expected one of W"),
            ("p0", "", "clip 0-0 has no subject"),
            (",120", ",late", "start_s 'late', expected seconds"),
        ],
    )
    def test_broken_tables(self, table, old, new, message):
        self.change(table, old, new)
        with pytest.raises(ValueError, match=message):
            s3ve(table, layout="features")

    def test_missing_video_features(self, table):
        (table / "v0-0.npy").unlink()
        with pytest.raises(FileNotFoundError, match="1 of 24 clips have no video file"):
            s3ve(table, layout="features")

    @pytest.mark.parametrize(
        ("array", "message"),
        [(np.full(16, np.nan), "NaN"), (np.zeros((2, 2, 2)), "shape"), (np.zeros(0), "shape")],
    )
    def test_broken_features(self, table, array, message):
        for path in table.glob("v*.npy"):
            np.save(path, array)
        with pytest.raises(ValueError, match=message):
            s3ve(table, layout="features").train[0]

    def test_there_is_no_published_split_of_a_table(self, table):
        with pytest.raises(ValueError, match="pass split='subjects'"):
            s3ve(table, layout="features", split="published")
