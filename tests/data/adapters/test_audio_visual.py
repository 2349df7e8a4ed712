"""CREMA-D, AVE, Kinetics-Sounds and VGGSound: lists, files, both splits, everything missing."""

import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import xdistill as xd
from xdistill.data.adapters import ave, crema_d, kinetics_sounds, vggsound
from xdistill.data.files.clips import read_clip
from xdistill.data.files.sound import read_log_mel
from xdistill.data.samples import (
    write_ave_sample,
    write_crema_d_sample,
    write_kinetics_sounds_sample,
    write_vggsound_sample,
)
from xdistill.data.samples.clip_files import write_film

SMALL = {"seconds": 0.5, "mels": 8, "frames": 2, "size": 24}
WRITERS = {
    "crema_d": write_crema_d_sample,
    "ave": write_ave_sample,
    "kinetics_sounds": write_kinetics_sounds_sample,
    "vggsound": write_vggsound_sample,
}
CARDS = {
    "crema_d": crema_d.CARD,
    "ave": ave.CARD,
    "kinetics_sounds": kinetics_sounds.CARD,
    "vggsound": vggsound.CARD,
}
SOUND = {
    "crema_d": "AudioWAV/1001_IEO_NEU_XX.wav",
    "ave": "Audio-1004-SE/C0000000000.wav",
    "kinetics_sounds": "train/-0x_0000001_1/-0x_0000001_1.wav",
    "vggsound": "train-audios/train-set/v0_00000001_000030.wav",
}
LISTS = {
    "crema_d": ("train.csv", "test.csv"),
    "ave": ("trainSet.txt", "valSet.txt", "testSet.txt"),
    "kinetics_sounds": ("my_train.txt", "my_test.txt"),
    "vggsound": ("train_tiny.csv", "test_tiny.csv"),
}
NAMES = tuple(WRITERS)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


@pytest.fixture
def root_of(samples, tmp_path):
    """A copy that a test may break."""
    return lambda name: Path(shutil.copytree(samples[name], tmp_path / name))


def load(name: str, root: Path, **options) -> xd.Splits:
    return xd.create_dataset(name, root=str(root), **{**SMALL, **options})


def published(name: str, root: Path, **options) -> xd.Splits:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(name, root, split="published", **options)


def nearest_mean(splits: xd.Splits, name: str) -> float:
    train, test = (
        torch.stack([part.read(name, row).flatten() for row in range(len(part))])
        for part in (splits.train, splits.test)
    )
    classes = range(len(splits.train.classes))
    means = torch.stack([train[splits.train.target == k].mean(dim=0) for k in classes])
    return float((torch.cdist(test, means).argmin(dim=1) == splits.test.target).double().mean())


@pytest.mark.parametrize("name", NAMES)
def test_the_clean_split_shares_no_group_and_can_be_learnt(samples, name):
    splits = load(name, samples[name])
    xd.check_disjoint(splits)
    assert len(set(splits.val.ids) & set(splits.test.ids)) == 0
    assert splits.train[0].inputs["audio"].shape == (8, 51)
    assert splits.train[0].inputs["video"].shape == (3, 2, 24, 24)
    assert nearest_mean(splits, "video") > 0.9
    assert nearest_mean(splits, "audio") > 0.6
    again = load(name, samples[name])
    assert [part.ids for part in again] == [part.ids for part in splits]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("crema_d", [72, 36, 36]),
        ("ave", [13, 3, 3]),
        ("kinetics_sounds", [18, 7, 7]),
        ("vggsound", [18, 6, 6]),
    ],
)
def test_the_published_split_has_its_lists(samples, name, sizes):
    splits = published(name, samples[name])
    assert [len(part) for part in splits] == sizes
    if name == "ave":
        assert not set(splits.val.ids) & set(splits.test.ids)
        return
    assert splits.val.ids == splits.test.ids
    with pytest.warns(UserWarning, match="no validation part: val is the test part"):
        load(name, samples[name], split="published")


def test_films_that_are_tested_are_not_trained_on(samples):
    for name, twice in (("ave", "C0000000005"), ("kinetics_sounds", "-0x_0000000")):
        whole = published(name, samples[name])
        assert any(twice in one for one in whole.train.ids)
        clean = load(name, samples[name])
        parts = [any(twice in one for one in part.ids) for part in clean]
        assert parts == [False, False, True]


def test_every_actor_is_tested_once(samples):
    tested = []
    for fold in range(3):
        splits = load("crema_d", samples["crema_d"], folds=3, fold=fold)
        xd.check_disjoint(splits)
        tested += {one[:4] for one in splits.test.ids}
        assert {one[:4] for one in splits.train.ids}.isdisjoint(splits.test.ids)
    assert sorted(tested) == [str(actor) for actor in range(1001, 1007)]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_what_the_files_hold(samples, name):
    train = published(name, samples[name]).train
    path = samples[name] / SOUND[name]
    row = next(at for at, one in enumerate(train.ids) if path.stem in one)
    expected = read_log_mel(path, mels=8, rate_hz=16_000, seconds=0.5)
    assert torch.equal(train.read("audio", row), expected)
    folders = [one for one in samples[name].rglob("*") if one.is_dir() and path.stem in one.name]
    clip = read_clip(folders[0], frames=2, size=24, channels=3)
    assert torch.equal(train.read("video", row), clip.float() / 255)


@pytest.mark.parametrize("name", NAMES)
def test_one_modality_needs_no_files_of_the_other(root_of, name):
    root = root_of(name)
    for path in root.rglob("*.jpg"):
        path.unlink()
    train = load(name, root, modalities=["audio"]).train
    assert train.modalities == ("audio",)


@pytest.mark.parametrize("name", NAMES)
def test_workers_load_it(samples, name):
    train = load(name, samples[name], keep_gib=0.0).train
    copy = pickle.loads(pickle.dumps(train))
    assert torch.equal(copy.read("video", 0), train.read("video", 0))
    loader = xd.paired_loader(train, 4, num_workers=2)
    assert isinstance(loader, DataLoader)
    batch = next(iter(loader))
    assert torch.equal(batch.inputs["audio"][1], train.read("audio", 1))


@pytest.mark.parametrize("name", NAMES)
def test_missing_files_are_named(root_of, name, tmp_path):
    root = root_of(name)
    (root / SOUND[name]).unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of \d+ clips lack audio or video \(first: "):
        load(name, root)
    for path in root.rglob("*.wav"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"clips lack .*<root>.*https://"):
        load(name, root)
    (root / LISTS[name][0]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{LISTS[name][0]} is missing; .*https://"):
        load(name, root)


@pytest.mark.parametrize("name", NAMES[1:])
def test_clips_may_be_missing_if_asked(root_of, name):
    root = root_of(name)
    (root / SOUND[name]).unlink()
    before = sum(map(len, published(name, root, allow_missing=True)))
    with pytest.warns(UserWarning, match="1 of .* clips are left out"):
        splits = load(name, root, allow_missing=True)
    assert before > 0 and not any(Path(SOUND[name]).stem in one for one in splits.train.ids)
    for path in root.rglob("*.wav"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"clips lack"):
        load(name, root, allow_missing=True)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_lists_and_files_are_named(root_of, name):
    root = root_of(name)
    path = root / LISTS[name][0]
    content = path.read_text()
    for broken, message in (
        ("", "is empty"),
        (content + "something else\n", "has the line 'something else"),
    ):
        path.write_text(broken)
        with pytest.raises(ValueError, match=f"{path.name} {message}"):
            load(name, root)
    path.write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(ValueError, match=f"{path.name} is no text in UTF-8"):
        load(name, root)
    path.write_text(content)
    if name != "ave":  # a film of AVE may have several events
        path.write_text(content + content.splitlines()[0] + "\n")
        with pytest.raises(ValueError, match="more than once"):
            load(name, root)
        path.write_text(content)
    sound = root / SOUND[name]
    sound.write_bytes(sound.read_bytes()[:30])
    train = published(name, root).train
    row = next(at for at, one in enumerate(train.ids) if sound.stem in one)
    with pytest.raises(ValueError, match=f"{sound.name}"):
        train.read("audio", row)
    image = next(root.rglob("*.jpg"))
    image.write_bytes(image.read_bytes()[:100])
    splits = published(name, root)
    with pytest.raises(ValueError, match="cannot be decoded"):
        for part in splits:
            for row in range(len(part)):
                part.read("video", row)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "audio"}, "modalities is a list"),
        ({"modalities": ["text"]}, "modalities is a list"),
        ({"split": "random"}, "'published' or 'clean', got 'random'"),
        ({"frames": 0}, "1 or more"),
        ({"seconds": 0.0}, "above 0"),
        ({"channels": 2}, "channels 1 or 3"),
    ],
)
def test_options_out_of_range(samples, name, options, message):
    with pytest.raises(ValueError, match=message):
        load(name, samples[name], **options)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_and_the_seed(samples, name, tmp_path):
    card = CARDS[name]
    assert card.name == name and all(any(samples[name].glob(one)) for one in card.files)
    again = WRITERS[name](tmp_path / "again")
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((again / one).read_bytes() == (samples[name] / one).read_bytes() for one in files)
    other = WRITERS[name](tmp_path / "other", seed=1)
    assert (other / SOUND[name]).read_bytes() != (again / SOUND[name]).read_bytes()


def test_a_film_gives_sound_and_frames(tmp_path, samples):
    """AVE's own layout: one film with both."""
    root = Path(shutil.copytree(samples["ave"], tmp_path / "ave"))
    shutil.rmtree(root / "Audio-1004-SE")
    shutil.rmtree(root / "Image-01-FPS-SE")
    (root / "AVE").mkdir()
    names = {
        line.split("&")[1] for one in LISTS["ave"] for line in (root / one).read_text().splitlines()
    }
    for number, name in enumerate(sorted(names)):
        write_film(root / "AVE" / f"{name}.mp4", number % 8, np.random.default_rng(number))
    train = load("ave", root).train
    assert train[0].inputs["audio"].shape == (8, 51)
    assert train[0].inputs["video"].shape == (3, 2, 24, 24)


def test_a_subset_of_vggsound_and_the_whole_list(root_of):
    root = root_of("vggsound")
    lines = []
    for part in ("train", "test"):
        path = root / f"{part}_tiny.csv"
        lines += [f"{line},{part}" for line in path.read_text().splitlines()]
        path.unlink()
    (root / "vggsound.csv").write_text("\n".join(lines) + "\n")
    splits = published("vggsound", root)
    assert splits.train.classes == ("dog barking", "playing flute, solo", "train horning")
    assert [len(part) for part in splits] == [18, 6, 6]
    few = [line for line in lines if "flute" not in line]
    (root / "vggsound.csv").write_text("\n".join(few) + "\n")
    assert len(published("vggsound", root).train.classes) == 2


def test_hidden_files_of_a_mac_are_no_frames(root_of):
    root = root_of("crema_d")
    folder = root / "Image-01-FPS" / "1001_IEO_NEU_XX"
    Image.new("RGB", (4, 4)).save(folder / "._00001.jpg")
    assert read_clip(folder, channels=3).shape == (3, 2, 40, 48)
