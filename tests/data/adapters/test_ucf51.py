"""UCF51: the lists, both modalities in every layout, the two splits, every broken file."""

import json
import pickle
import shutil
import tarfile
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.adapters.ucf51.adapter import CARD, ucf51
from xdistill.data.adapters.ucf51.index import CLASSES, SILENT
from xdistill.data.files.clips import read_clip
from xdistill.data.samples.ucf51 import SAMPLE_CLASSES, write_ucf51_sample

AUDIO = "audiocnn14embed512_features"
SMALL = {"frames": 4, "size": 24}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_ucf51_sample(tmp_path_factory.mktemp("ucf51"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "ucf51"))


def video_of(name: str) -> str:
    """The video that a clip was cut from."""
    return name.rpartition("_c")[0]


def nearest_mean(splits: xd.Splits) -> float:
    """Accuracy on the test part of the class mean of the training part with the least angle."""
    train, test = (
        torch.stack([part.read("audio_features", row) for row in range(len(part))])
        for part in (splits.train, splits.test)
    )
    classes = range(len(splits.train.classes))
    means = torch.stack([train[splits.train.target == k].mean(dim=0) for k in classes])
    centre = means.mean(dim=0)
    normal = torch.nn.functional.normalize
    found = (normal(test - centre) @ normal(means - centre).T).argmax(dim=1)
    return float((found == splits.test.target).double().mean())


def test_the_clean_split(whole):
    splits = xd.create_dataset("ucf51", root=str(whole), **SMALL)
    assert [len(part) for part in splits] == [16, 24, 16]
    xd.check_disjoint(splits)
    videos = [{video_of(name) for name in part.ids} for part in splits]
    assert sum(map(len, videos)) == len(set.union(*videos)) == 28
    assert {name[-2:] for name in videos[1]} == {"23", "24", "25"}
    for part in splits:
        assert part.classes == SAMPLE_CLASSES
        for name, label in zip(part.ids, part.target.tolist(), strict=True):
            assert name.split("_")[1].lower() == part.classes[label].lower()
        assert len(part.group.unique()) == len({video_of(name) for name in part.ids})
    other = ucf51(whole, val_videos=[8], **SMALL)
    assert {video_of(name)[-2:] for name in other.val.ids} == {"08"}


def test_the_published_split_says_that_it_has_no_validation_part(whole):
    with pytest.warns(UserWarning, match="no validation part: val is the test part"):
        splits = ucf51(whole, split="published", **SMALL)
    assert [len(part) for part in splits] == [40, 16, 16]
    assert splits.val.ids == splits.test.ids
    assert not {video_of(name) for name in splits.train.ids} & set(map(video_of, splits.test.ids))


def test_shapes_and_values(whole):
    splits = ucf51(whole)
    row = splits.train[0]
    assert row.inputs["video"].shape == (3, 16, 112, 112)
    assert row.inputs["audio_features"].shape == (512,)
    assert 0 <= row.inputs["video"].min() < row.inputs["video"].max() <= 1
    name = splits.train.ids[0]
    stored = np.load(whole / AUDIO / splits.train.classes[row.target] / f"{name}.npy")
    assert torch.equal(row.inputs["audio_features"], torch.from_numpy(stored))
    assert ucf51(whole, channels=1, **SMALL).train.read("video", 0).shape == (1, 4, 24, 24)
    xd.audit(ucf51(whole, **SMALL).train, required=("video",), optional=("audio_features",))


def test_the_sample_can_be_learned_and_follows_from_its_seed(whole, tmp_path):
    assert nearest_mean(ucf51(whole, modalities=["audio_features"])) > 0.8
    again = write_ucf51_sample(tmp_path / "again", modalities=["audio_features"])
    other = write_ucf51_sample(tmp_path / "other", modalities=["audio_features"], seed=1)
    name = f"{AUDIO}/Surfing/v_Surfing_g01_c01.npy"
    assert (again / name).read_bytes() == (whole / name).read_bytes()
    assert (other / name).read_bytes() != (whole / name).read_bytes()


def test_sound_without_videos_and_videos_without_sound(root):
    shutil.move(root / "hdf5data", root.parent / "hdf5data")
    splits = ucf51(root, modalities=("audio_features",))
    assert splits.train.modalities == ("audio_features",)
    with pytest.raises(FileNotFoundError, match=r"hdf5data is missing; the layout is .*crcv"):
        ucf51(root)
    shutil.move(root.parent / "hdf5data", root / "hdf5data")
    shutil.rmtree(root / AUDIO)
    assert ucf51(root, modalities=["video"], **SMALL).train.ids == splits.train.ids
    with pytest.raises(FileNotFoundError, match=rf"{AUDIO} is missing; .*yanbeic/CCL"):
        ucf51(root)


def test_other_names_of_the_folders(root):
    before = ucf51(root, **SMALL).train
    expected = {name: before.read(name, 3) for name in before.modalities}
    (root / AUDIO).rename(root / f"ucf101_{AUDIO}")
    (root / f"ucf101_{AUDIO}" / "Surfing" / "._v_Surfing_g01_c01.npy").write_bytes(b"\0\5\x16\7")
    (root / f"ucf101_{AUDIO}" / "._Surfing").write_bytes(b"\0\5\x16\7")
    (root / "hdf5data").rename(root / "UCF-101")
    for path in (root / "ucfTrainTestlist").iterdir():
        path.rename(root / path.name)
    found = ucf51(root, **SMALL).train
    assert found.ids == before.ids
    assert all(torch.equal(found.read(name, 3), row) for name, row in expected.items())


def test_frames_as_files_and_films(root):
    train = ucf51(root, modalities=["video"], frames=20, size=60).train
    expected = train.read("video", 0), train.read("video", 1)
    first, second = (root / "hdf5data" / "Archery" / f"{name}.hdf5" for name in train.ids[:2])
    folder = first.with_suffix("")
    folder.mkdir()
    with h5py.File(first) as file:
        for number, jpeg in enumerate(file["video"], start=1):
            (folder / f"image_{number:05d}.jpg").write_bytes(jpeg.tobytes())
    write_film(second.with_suffix(".avi"), read_clip(second, channels=3).numpy())
    first.unlink(), second.unlink()
    train = ucf51(root, modalities=["video"], frames=20, size=60).train
    assert torch.equal(train.read("video", 0), expected[0])
    assert (train.read("video", 1) - expected[1]).abs().mean() < 0.05


def write_film(path: Path, frames: np.ndarray) -> None:
    """Writes uint8 frames [3, t, h, w] as UCF101 has them: MPEG-4 in AVI."""
    import av

    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames.shape[2:]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for frame in frames.transpose(1, 2, 3, 0):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            film.mux(stream.encode(picture))
        film.mux(stream.encode())


def annotate(root: Path) -> dict:
    """CCL's annotations in place of the lists, which have the classes without sound too."""
    database = {}
    for part, subset in (("train", "training"), ("test", "validation")):
        for line in (root / "ucfTrainTestlist" / f"{part}list01.txt").read_text().splitlines():
            label, name = line.split(".")[0].split("/")
            database[name] = {
                "subset": subset,
                "annotations": {"label": label, "segment": [1, 21]},
            }
    database["v_Biking_g01_c01"] = {"subset": "validation", "annotations": {"label": "Biking"}}
    shutil.rmtree(root / "ucfTrainTestlist")
    return {"labels": sorted(SAMPLE_CLASSES), "database": database}


def test_the_annotations_say_the_same_as_the_lists(root):
    expected = ucf51(root, **SMALL)
    (root / "ucf51_01.json").write_text(json.dumps(annotate(root)))
    found = ucf51(root, **SMALL)
    for one, other in zip(found, expected, strict=True):
        assert one.ids == other.ids and one.classes == other.classes
        assert torch.equal(one.target, other.target) and torch.equal(one.group, other.group)
    assert torch.equal(found.test.read("video", 2), expected.test.read("video", 2))


def test_a_segment_chooses_frames(root):
    content = annotate(root)
    name = "v_Archery_g08_c01"
    content["database"][name]["annotations"]["segment"] = [11, 21]
    (root / "ucf51_01.json").write_text(json.dumps(content))
    train = ucf51(root, modalities=["video"], frames=2, size=60).train
    whole_clip = read_clip(root / "hdf5data" / "Archery" / f"{name}.hdf5", size=60, channels=3)
    chosen = (train.read("video", train.ids.index(name)) * 255).round().byte()
    assert torch.equal(chosen, whole_clip[:, [12, 17]])


def test_clips_without_sound_are_left_out_as_published(root):
    silent = "v_BasketballDunk_g15_c04"
    for line, part in ((f"{silent}.avi 9", "train"), ("v_BasketballDunk_g01_c01.avi", "test")):
        with (root / "ucfTrainTestlist" / f"{part}list01.txt").open("a") as file:
            file.write(f"BasketballDunk/{line}\n")
    (root / AUDIO / "BasketballDunk").mkdir()
    source = root / AUDIO / "Surfing" / "v_Surfing_g01_c01.npy"
    shutil.copy(source, root / AUDIO / "BasketballDunk" / "v_BasketballDunk_g01_c01.npy")
    splits = ucf51(root, modalities=["audio_features"])
    assert silent in SILENT and silent not in splits.train.ids
    assert len(splits.test) == 17
    (root / AUDIO / "BasketballDunk" / "v_BasketballDunk_g01_c01.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 57 clips have no features .*g01_c01.npy"):
        ucf51(root, modalities=["audio_features"])


def test_workers_read_the_same(whole):
    train = pickle.loads(pickle.dumps(ucf51(whole, keep_gib=0.0, **SMALL).train))
    here, there = (next(iter(xd.paired_loader(train, 4, num_workers=n))) for n in (0, 1))
    assert here.inputs["video"].shape == (4, 3, 4, 24, 24)
    for name in ("video", "audio_features"):
        assert torch.equal(here.inputs[name], there.inputs[name])


def test_missing_files_are_counted(root):
    (root / "hdf5data" / "Surfing" / "v_Surfing_g01_c02.hdf5").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 56 clips have no video .first: .*Surfing.v_Surfing_g01_c02"
    ):
        ucf51(root)
    shutil.rmtree(root / "ucfTrainTestlist")
    with pytest.raises(FileNotFoundError, match=r"trainlist01.txt and .* missing.*ucf51_01.json"):
        ucf51(root)
    with pytest.raises(FileNotFoundError, match=r"trainlist02.txt"):
        ucf51(root, fold=2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Surfing/v_Archery_g01_c01.avi", "names the clip 'v_Archery_g01_c01' of Surfing"),
        ("Surfing/v_Surfing_g01.avi", "names the clip 'v_Surfing_g01' of Surfing"),
        ("Surfing v_Surfing_g01_c01", "has the line 'Surfing v_Surfing_g01_c01'"),
        ("Surfing/v_Surfing_g08_c01.avi", "names v_Surfing_g08_c01 more than once"),
    ],
)
def test_lists_that_contradict_themselves(root, line, message):
    with (root / "ucfTrainTestlist" / "testlist01.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ValueError, match=message):
        ucf51(root)


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"database": {"v_Surfing_g01_c01": {"subset": "testing"}}}']
)
def test_annotations_that_are_none(root, content):
    shutil.rmtree(root / "ucfTrainTestlist")
    (root / "ucf51_01.json").write_text(content)
    with pytest.raises(ValueError, match="ucf51_01.json cannot be used"):
        ucf51(root)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _other_width(path: Path) -> None:
    np.save(path, np.zeros(128, np.float32))


def _nan(path: Path) -> None:
    np.save(path, np.full(512, np.nan, np.float32))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_empty, "cannot be read as a .npy array"),
        (_other_width, r"shape \(128,\), expected \(512,\) or"),
        (_nan, "512 of 512 values are NaN"),
    ],
)
def test_damaged_features_are_named(root, damage, message):
    splits = ucf51(root, **SMALL)
    damage(root / AUDIO / "Archery" / f"{splits.train.ids[0]}.npy")
    with pytest.raises(ValueError, match=f"{splits.train.ids[0]}.npy.*{message}"):
        splits.train.read("audio_features", 0)


def test_windows_are_averaged(root):
    name = ucf51(root, **SMALL).train.ids[0]
    np.save(root / AUDIO / "Archery" / f"{name}.npy", np.arange(1024.0).reshape(2, 512))
    features = ucf51(root, **SMALL).train.read("audio_features", 0)
    assert torch.equal(features, torch.arange(512.0) + 256)


def test_damaged_videos_are_named(root):
    splits = ucf51(root, **SMALL)
    path = root / "hdf5data" / "Archery" / f"{splits.train.ids[0]}.hdf5"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"{path.name} cannot be read"):
        splits.train.read("video", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "audio"}, "one or more of 'audio_features', 'video'"),
        ({"modalities": ["sound"]}, "modalities is a list"),
        ({"split": "official"}, "split is 'published' or 'clean'"),
        ({"fold": 4}, "fold is 1, 2 or 3"),
        ({"split": "published", "val_videos": [8]}, "holds out no videos"),
        ({"val_videos": [1]}, r"not all of the training list's videos \[8, 9, 23, 24, 25\]"),
        ({"val_videos": [8, 9, 23, 24, 25]}, "not all"),
        ({"channels": 2}, "channels 1 or 3"),
        ({"frames": 0}, "1 or more"),
    ],
)
def test_options_out_of_range(whole, options, message):
    with pytest.raises(ValueError, match=message):
        ucf51(whole, **options)


def test_the_card(whole):
    assert CARD.name in xd.list_datasets()
    assert CARD.classes == len(set(CLASSES)) == 51
    assert {name for pair in CARD.pairs for name in pair} == set(
        ucf51(whole, **SMALL).train.modalities
    )
    assert all(any(whole.glob(pattern)) for pattern in CARD.files)


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory) -> Path:
    """The real lists and features, unpacked."""
    source = shared_data("ucf51_audio_panns")
    root = tmp_path_factory.mktemp("real_ucf51")
    shutil.copytree(source / "ucfTrainTestlist", root / "ucfTrainTestlist")
    with tarfile.open(source / f"{AUDIO}.tar.gz") as packed:
        packed.extractall(root, filter="data")
    return root


@pytest.mark.parametrize(
    ("fold", "train", "test"), [(1, 4893, 1944), (2, 4926, 1911), (3, 4941, 1896)]
)
def test_the_real_lists(real, fold, train, test):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        published = ucf51(real, modalities=["audio_features"], split="published", fold=fold)
    assert [len(part) for part in published] == [train, test, test]
    assert published.train.classes == CLASSES
    clean = ucf51(real, modalities=["audio_features"], fold=fold)
    xd.check_disjoint(clean)
    assert len(clean.train) + len(clean.val) == train and len(clean.test) == test
    assert set(clean.train.ids) | set(clean.val.ids) == set(published.train.ids)
    assert {name.split("_")[2] for name in clean.val.ids} == {"g23", "g24", "g25"}
    for part in clean:
        assert len(part.target.unique()) == 51


def test_the_real_features(real):
    features = {path.parent.name for path in (real / AUDIO).glob("*/[!.]*.npy")}
    assert features == set(CLASSES)
    splits = ucf51(real, modalities=["audio_features"])
    assert nearest_mean(splits) > 0.3
