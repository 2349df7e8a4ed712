"""CrisisMMD and VGGSound-50k: features, posts and films, published orders, what is refused."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.adapters import crisismmd, vggsound_50k
from xdistill.data.samples import write_crisismmd_sample, write_vggsound_50k_sample

WRITERS = {"crisismmd": write_crisismmd_sample, "vggsound_50k": write_vggsound_50k_sample}
MODULES = {"crisismmd": crisismmd, "vggsound_50k": vggsound_50k}
SHAPES = {
    "crisismmd": {"image_features": (2048,), "text_features": (768,)},
    "vggsound_50k": {"video": (512, 10, 7, 7), "audio": (128, 10)},
}
ROWS = {"crisismmd": 100, "vggsound_50k": 28}
NAMES = tuple(WRITERS)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


@pytest.fixture
def root_of(samples, tmp_path):
    """A copy that a test may break."""
    return lambda name: Path(shutil.copytree(samples[name], tmp_path / name))


@pytest.mark.parametrize("name", NAMES)
def test_no_post_or_film_is_in_two_parts(samples, name):
    splits = xd.create_dataset(name, root=str(samples[name]))
    xd.check_disjoint(splits)
    assert sum(map(len, splits)) == ROWS[name]
    groups = sum(len(part.group.unique()) for part in splits)
    assert groups == {"crisismmd": 80, "vggsound_50k": 24}[name]
    other = xd.create_dataset(name, root=samples[name], fold=1)
    assert other.test.ids != splits.test.ids


@pytest.mark.parametrize("name", NAMES)
def test_the_published_order_is_cut_at_60_and_80_per_cent(samples, name):
    root = samples[name]
    for column in (0, 1):
        splits = xd.create_dataset(name, root=root, split="published", fold=column)
        order = np.loadtxt(root / MODULES[name].ORDER, delimiter=",", skiprows=1, dtype=int)
        order = order[:, column].tolist()
        ids = [str(row) for row in range(ROWS[name])]
        if name == "vggsound_50k":
            lines = (root / vggsound_50k.LIST).read_text().splitlines()
            ids = [line.split("&")[0] for line in lines]
        cut = [int(0.6 * len(order)), int(0.8 * len(order))]
        expected = [order[: cut[0]], order[cut[0] : cut[1]], order[cut[1] :]]
        assert [list(part.ids) for part in splits] == [[ids[k] for k in rows] for rows in expected]


@pytest.mark.parametrize("name", NAMES)
def test_rows_have_their_shapes_and_tell_the_class(samples, name):
    splits = xd.create_dataset(name, root=samples[name])
    assert {k: tuple(v.shape) for k, v in splits.train[0].inputs.items()} == SHAPES[name]
    classes = splits.train.target.unique().tolist()
    for column in SHAPES[name]:
        train, test = (
            torch.stack([part.read(column, row).flatten() for row in range(len(part))])
            for part in (splits.train, splits.test)
        )
        means = torch.stack([train[splits.train.target == k].mean(dim=0) for k in classes])
        found = torch.tensor(classes)[torch.cdist(test, means).argmin(dim=1)]
        assert float((found == splits.test.target).double().mean()) > 0.9
    copy = pickle.loads(pickle.dumps(splits.train))
    for column in SHAPES[name]:
        assert torch.equal(copy.read(column, 1), splits.train.read(column, 1))


def test_features_are_those_of_the_files(samples):
    root = samples["vggsound_50k"]
    part = xd.create_dataset("vggsound_50k", root=root, modalities=["video"]).train
    stored = np.load(root / vggsound_50k.FEATURES / vggsound_50k.FILES["video"].format(part.ids[2]))
    np.testing.assert_array_equal(part.read("video", 2), stored.transpose(3, 0, 1, 2))
    root = samples["crisismmd"]
    part = xd.create_dataset("crisismmd", root=root, split="published").train
    image, text, _ = torch.load(root / crisismmd.FILE, weights_only=False)
    np.testing.assert_array_equal(part.read("image_features", 3), image[int(part.ids[3])])
    np.testing.assert_array_equal(part.read("text_features", 3), text[int(part.ids[3])])


class Trap:
    """An object whose unpickling would leave a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_but_arrays_is_unpickled(root_of, tmp_path):
    root = root_of("crisismmd")
    mark = tmp_path / "ran"
    torch.save((Trap(mark), Trap(mark), Trap(mark)), root / crisismmd.FILE)
    with pytest.raises(ValueError, match=r"CMMD_data.pth holds objects other than arrays"):
        xd.create_dataset("crisismmd", root=root)
    assert not mark.exists()


def test_damaged_features_of_crisismmd_are_named(root_of):
    root = root_of("crisismmd")
    path = root / crisismmd.FILE
    image, text, labels = torch.load(path, weights_only=False)
    bad = image.copy()
    bad[3, 5] = np.nan
    for stored, message in (
        ((image[:, :100], text, labels), r"\(100, 100\), \(100, 768\) and \(100,\)"),
        ((image[:-1], text, labels), r"expected \(N, 2048\)"),
        ((bad, text, labels), "NaN or infinite"),
        ((image, text, labels + 1), "expected 0 to 7"),
        ((image, text), "cannot be read"),
    ):
        torch.save(stored, path)
        with pytest.raises(ValueError, match=message):
            xd.create_dataset("crisismmd", root=root)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="cannot be read"):
        xd.create_dataset("crisismmd", root=root)


def test_damaged_features_of_vggsound_are_named(root_of):
    root = root_of("vggsound_50k")
    path = next((root / vggsound_50k.FEATURES / "audio_features").iterdir())
    for broken, message in (
        (np.zeros((9, 128)), r"\(9, 128\), expected \(10, 128\)"),
        (np.full((10, 128), np.nan), "1280 of 1280 values are NaN"),
    ):
        np.save(path, broken)
        splits = xd.create_dataset("vggsound_50k", root=root)
        with pytest.raises(ValueError, match=message):
            for part in splits:
                for row in range(len(part)):
                    part.read("audio", row)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"1 files of features are missing"):
        xd.create_dataset("vggsound_50k", root=root)
    table = root / vggsound_50k.LIST
    table.write_text("vid_1&141\n")
    with pytest.raises(ValueError, match="a class from 0 to 140"):
        xd.create_dataset("vggsound_50k", root=root)


@pytest.mark.parametrize("name", NAMES)
def test_missing_files_and_orders_are_named(root_of, tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"is missing; .*https://"):
        xd.create_dataset(name, root=tmp_path / "none")
    root = root_of(name)
    order = root / MODULES[name].ORDER
    with pytest.raises(ValueError, match="no column group_7"):
        xd.create_dataset(name, root=root, split="published", fold=7)
    order.write_text("group_0\n0\n1\n1\n")
    with pytest.raises(ValueError, match=rf"each of the {ROWS[name]} rows once in group_0"):
        xd.create_dataset(name, root=root, split="published")
    order.unlink()
    with pytest.raises(FileNotFoundError, match=r"_indices.csv is missing"):
        xd.create_dataset(name, root=root, split="published")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "text"}, "modalities is a list"),
        ({"split": "random"}, "'published' or 'clean'"),
    ],
)
def test_options_out_of_range(samples, name, options, message):
    with pytest.raises(ValueError, match=message):
        xd.create_dataset(name, root=samples[name], **options)


@pytest.mark.parametrize("name", NAMES)
def test_the_card(samples, name):
    card = MODULES[name].CARD
    assert card.name == name and all(any(samples[name].glob(one)) for one in card.files)
