"""RAVDESS: films, features and arrays; actors; what is refused."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.adapters.ravdess import CARD, EMOTIONS, ravdess
from xdistill.data.samples import (
    write_ravdess_arrays,
    write_ravdess_features,
    write_ravdess_films,
)

WRITERS = {
    "films": write_ravdess_films,
    "features": write_ravdess_features,
    "arrays": write_ravdess_arrays,
}
OPTIONS = {
    "films": {"seconds": 0.5, "mels": 8, "frames": 2, "size": 24},
    "features": {"size": 24},
    "arrays": {},
}
SHAPES = {
    "films": {"audio": (8, 51), "video": (3, 2, 24, 24)},
    "features": {"audio": (15, 156), "image": (3, 24, 24)},
    "arrays": {"audio": (15, 156), "video": (3, 15, 16, 16)},
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


def load(layout: str, root: Path, **options) -> xd.Splits:
    return xd.create_dataset("ravdess", root=str(root), layout=layout, **OPTIONS[layout], **options)


@pytest.mark.parametrize("layout", WRITERS)
def test_every_actor_is_tested_once(samples, layout):
    tested = []
    for fold in range(3):
        splits = load(layout, samples[layout], folds=3, fold=fold)
        xd.check_disjoint(splits)
        assert splits.train.classes == EMOTIONS
        tested += splits.test.group.unique().tolist()
    assert len(tested) == len(set(tested)) == 6


@pytest.mark.parametrize("layout", WRITERS)
def test_rows_have_their_shapes_and_tell_the_emotion(samples, layout):
    splits = load(layout, samples[layout], folds=3)
    assert {k: tuple(v.shape) for k, v in splits.train[0].inputs.items()} == SHAPES[layout]
    for name in SHAPES[layout]:
        train, test = (
            torch.stack([part.read(name, row).flatten() for row in range(len(part))])
            for part in (splits.train, splits.test)
        )
        means = torch.stack([train[splits.train.target == k].mean(dim=0) for k in range(8)])
        right = torch.cdist(test, means).argmin(dim=1) == splits.test.target
        assert float(right.double().mean()) > 0.8, name
    copy = pickle.loads(pickle.dumps(splits.train))
    for name in SHAPES[layout]:
        assert torch.equal(copy.read(name, 3), splits.train.read(name, 3))


@pytest.mark.parametrize("layout", WRITERS)
def test_the_published_split_mixes_actors(samples, layout):
    splits = load(layout, samples[layout], split="published")
    assert [len(part) for part in splits] == [28, 10, 10]
    assert len({one for part in splits for one in part.ids}) == 48
    assert load(layout, samples[layout], split="published", seed=1).test.ids != splits.test.ids
    xd.check_disjoint(splits)  # rows; their actors are shared, as the papers have it


def test_modalities_name_the_columns(samples):
    for layout, shapes in SHAPES.items():
        for name in shapes:
            assert load(layout, samples[layout], folds=3, modalities=[name]).train.modalities == (
                name,
            )
    with pytest.raises(ValueError, match="one or more of 'audio', 'image', got"):
        load("features", samples["features"], modalities=["video"])


@pytest.mark.parametrize(
    ("layout", "option", "message"),
    [
        ("arrays", {"size": 24}, "'arrays' has no option size; it has none"),
        ("features", {"seconds": 1.0}, "'features' has no option seconds; it has keep_gib, size"),
    ],
)
def test_options_that_a_layout_does_not_have_are_refused(samples, layout, option, message):
    with pytest.raises(ValueError, match=message):
        ravdess(samples[layout], layout=layout, **option)


def test_arrays_are_turned_round_and_kept(samples):
    root = samples["arrays"]
    part = load("arrays", root, split="published").train
    row = 5
    at = int(part.ids[row])
    video = np.load(root / "video_data.npy")[at].transpose(1, 0, 2, 3) / 255
    np.testing.assert_allclose(part.read("video", row), video, rtol=1e-6)
    np.testing.assert_array_equal(part.read("audio", row), np.load(root / "audio_data.npy")[at])


def test_arrays_without_actors_cannot_be_split_by_actor(tmp_path):
    root = write_ravdess_arrays(tmp_path, with_actors=False)
    with pytest.raises(ValueError, match=r"no actor_data.npy .* pass split='published'"):
        load("arrays", root)
    assert len(load("arrays", root, split="published").train) == 28


@pytest.mark.parametrize(
    ("layout", "name"),
    [("films", "01-01-01-01-01-01-01.mp4"), ("features", ".csv"), ("arrays", "label_data.npy")],
)
def test_missing_files_are_named(tmp_path, layout, name):
    with pytest.raises(FileNotFoundError, match=rf"{name}.* missing.*zenodo.org"):
        load(layout, tmp_path)


def test_damaged_features_are_named(samples, tmp_path):
    root = Path(shutil.copytree(samples["features"], tmp_path / "ravdess"))
    table = root / "ravdess.csv"
    content = table.read_text()
    for line, message in (
        ("a,b", "expected aud,img,label"),
        ("01-01-01-01-01-01-01.npy,x.jpg,9", "a label from 0 to 7"),
        ("one.npy,one.jpg,1", "expected one like 01-01-06-01-02-01-12"),
    ):
        table.write_text(f"{content}{line}\n")
        with pytest.raises(ValueError, match=message):
            load("features", root)
    table.write_text(content)
    image = root / "vid_features" / "01-01-01-01-01-01-01.jpg"
    image.write_bytes(image.read_bytes()[:80])
    splits = load("features", root)
    with pytest.raises(ValueError, match=r"01-01-01-01-01-01-01.jpg cannot be read as an image"):
        for part in splits:
            for row in range(len(part)):
                part.read("image", row)
    sound = root / "aud_features" / "01-01-01-01-01-01-01.npy"
    np.save(sound, np.zeros((2, 3, 4)))
    splits = load("features", root)
    with pytest.raises(ValueError, match=r"\(2, 3, 4\), expected \(any, any\)"):
        for part in splits:
            for row in range(len(part)):
                part.read("audio", row)
    image.unlink()
    with pytest.raises(FileNotFoundError, match=r"1 files are missing \(first: .*01.jpg\)"):
        load("features", root)


def test_damaged_arrays_and_films_are_named(samples, tmp_path):
    root = Path(shutil.copytree(samples["arrays"], tmp_path / "arrays"))
    labels = np.load(root / "label_data.npy")
    np.save(root / "label_data.npy", labels[:-1])
    with pytest.raises(ValueError, match="expected as many in each"):
        load("arrays", root)
    np.save(root / "label_data.npy", labels + 0.5)
    with pytest.raises(ValueError, match="float64 values that are not whole"):
        load("arrays", root)
    np.save(root / "label_data.npy", labels + 1)
    with pytest.raises(ValueError, match="expected 0 to 7"):
        load("arrays", root)
    films = Path(shutil.copytree(samples["films"], tmp_path / "films"))
    film = films / "Actor_01" / "01-01-01-01-01-01-01.mp4"
    film.write_bytes(film.read_bytes()[:200])
    splits = load("films", films, folds=3)
    with pytest.raises(ValueError, match=r"01-01-01-01-01-01-01.mp4 cannot be read"):
        for part in splits:
            for row in range(len(part)):
                part.read("video", row)
    film.rename(film.with_name("01-01-09-01-01-01-01.mp4"))
    with pytest.raises(ValueError, match="expected one like 01-01-06-01-02-01-12"):
        load("films", films)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "random"}, "'published' or 'clean'"),
        ({"layout": "text"}, "layout is one of films, features, arrays"),
        ({"modalities": "audio"}, "modalities is a list"),
        ({"folds": 9}, "from 2 to the number of groups"),
    ],
)
def test_options_out_of_range(samples, options, message):
    with pytest.raises(ValueError, match=message):
        ravdess(samples["films"], **{**OPTIONS["films"], **options})


def test_the_card(samples):
    assert all(any(samples["films"].glob(pattern)) for pattern in CARD.files)
