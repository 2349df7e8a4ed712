"""The S3VE adapter: every layout, every broken file."""

import json
import re
import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from xdistill.data.adapters.s3ve import s3ve
from xdistill.data.adapters.s3ve.eeg import read_epoch
from xdistill.data.files.clips import pick_frames, read_clip, write_clip
from xdistill.data.paired import paired_loader
from xdistill.data.simulation.sample import SampleConfig, generate
from xdistill.registry import create_dataset

CONFIG = SampleConfig(subjects=4, clips_per_night=12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("s3ve") / "sample", CONFIG, workers=1)


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "s3ve"))


def annotations(root: Path) -> dict:
    return json.loads((root / "s3ve.json").read_text())


def annotate(root: Path, change) -> None:
    content = annotations(root)
    change(content["database"])
    (root / "s3ve.json").write_text(json.dumps(content))


def first_clip(root: Path) -> tuple[str, str]:
    """Id and label of the first clip of the training subset."""
    clip_id, entry = next(iter(annotations(root)["database"].items()))
    return clip_id, entry["annotations"]["label"]


def file_of(root: Path, modality: str) -> Path:
    clip_id, label = first_clip(root)
    suffix = "hdf5" if modality == "video" else "npy"
    return root / modality / label / f"{clip_id}.{suffix}"


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


def write_film(path: Path, frames: np.ndarray) -> None:
    import av

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with av.open(str(path), "w") as film:
            stream = film.add_stream("mpeg4", rate=1)
            stream.width, stream.height = frames.shape[2], frames.shape[1]
            stream.pix_fmt = "yuv420p"
            stream.bit_rate = 10_000_000
            for frame in frames:
                rgb = np.repeat(frame[..., None], 3, axis=2)
                film.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            film.mux(stream.encode())
