"""MM-IMDb: several genres a film, posters, plots without a known word, what is refused."""

import json
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

import xdistill as xd
from xdistill.data.adapters.mm_imdb import CARD, FILE, mm_imdb
from xdistill.data.samples.mm_imdb import GENRES, write_mm_imdb_sample
from xdistill.engine import fit
from xdistill.metrics import predict
from xdistill.multi_label import predict_multi_label

ALL = ("text_features", "image_features", "image")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_mm_imdb_sample(tmp_path_factory.mktemp("mm_imdb"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "mm_imdb"))


def test_the_parts_are_those_of_the_file(whole):
    splits = xd.create_dataset("mm_imdb", root=str(whole), modalities=ALL)
    assert [len(part) for part in splits] == [36, 6, 18]
    xd.check_disjoint(splits)
    assert splits.train.multi_label and splits.train.classes == GENRES
    assert splits.test.ids[0] == "0009042"
    with h5py.File(whole / FILE) as file:
        for part, start in zip(splits, (0, 36, 42), strict=True):
            stored = file["genres"][start : start + len(part)]
            np.testing.assert_array_equal(part.target, stored)


def test_rows_are_those_of_the_file(whole):
    part = mm_imdb(whole, modalities=ALL).val
    with h5py.File(whole / FILE) as file:
        for column, name in (("text_features", "features"), ("image_features", "vgg_features")):
            np.testing.assert_array_equal(part.read(column, 2), file[name][38])
        blue, green, red = file["images"][38]
    poster = 255 * part.read("image", 2)
    means = (123.68, 116.779, 103.939)
    for ours, stored, mean in zip(poster, (red, green, blue), means, strict=True):
        np.testing.assert_allclose(ours, np.clip(stored + mean, 0, 255), atol=1e-3)


def test_a_plot_without_a_known_word_is_missing(whole):
    test = mm_imdb(whole, modalities=ALL).test
    assert test.valid["text_features"].tolist() == [True] * 17 + [False]
    assert set(test[17].inputs) == {"image_features", "image"}
    assert xd.audit(test, required=("image",), optional=("text_features",)).multi_label
    assert not mm_imdb(whole, modalities=["image"]).test.valid


def test_workers_load_batches(whole):
    part = mm_imdb(whole, modalities=ALL).train
    part.read("image", 0)  # an open file is not taken into the worker
    assert torch.equal(pickle.loads(pickle.dumps(part)).read("image", 1), part.read("image", 1))
    batch = next(iter(xd.paired_loader(part, 8, num_workers=2)))
    assert torch.equal(batch.target, part.target[:8])
    assert batch.inputs["image"].shape == (8, 3, 256, 160)


def test_a_poster_learns_from_a_plot(whole):
    """From the file to a trained student and its scores, with a third of the labels."""
    splits = mm_imdb(whole)
    torch.manual_seed(0)
    student, teacher = (
        xd.create_encoder("mlp", in_channels=width, num_classes=3, modality=modality)
        for modality, width in (("image_features", 4096), ("text_features", 300))
    )
    alone = xd.Distiller(teacher, None, xd.BinaryCrossEntropy())
    fit(alone, xd.paired_loader(splits.train, 12, shuffle=True), max_epochs=15, accelerator="cpu")
    loss = xd.BinaryCrossEntropy() + xd.SACD(dim=32, bank_size=64)
    train = xd.hide_labels(splits.train, 1 / 3)
    assert int((train.target >= 0).all(dim=1).sum()) == 12
    distiller = xd.Distiller(student, teacher, loss)
    result = fit(
        distiller,
        xd.paired_loader(train, 12, shuffle=True),
        xd.paired_loader(splits.val, 6),
        monitor="val/mean_average_precision",
        max_epochs=8,
        accelerator="cpu",
    )
    assert {"val/micro_f1", "val/macro_f1", "val/weighted_f1"} <= set(result.history[0])
    found = predict_multi_label(student, xd.paired_loader(splits.test, 6))
    with torch.no_grad():
        rows = [splits.test.read("image_features", row) for row in range(18)]
        logits = student(torch.stack(rows)).logits
    truth, guess = splits.test.target.numpy(), (logits > 0).long().numpy()
    np.testing.assert_array_equal(found.predicted, guess)
    for average in ("micro", "macro", "weighted"):
        score = getattr(found.scores, f"{average}_f1")
        assert score == pytest.approx(f1_score(truth, guess, average=average), abs=1e-5)
    precision = average_precision_score(truth, logits.sigmoid().numpy(), average="macro")
    assert found.scores.mean_average_precision == pytest.approx(precision, abs=1e-5)
    chance = float(splits.test.target.double().mean())
    assert found.scores.mean_average_precision > chance + 0.1
    with pytest.raises(ValueError, match=r"\[18, 3\].*use .*predict_multi_label"):
        predict(student, xd.paired_loader(splits.test, 6), 3)


def test_one_class_a_row_is_no_multi_label_prediction(whole):
    part = mm_imdb(whole, modalities=["text_features"]).train
    encoder = xd.create_encoder("mlp", in_channels=300, num_classes=3, modality="text_features")
    single = part.replace(target=part.target[:, 0])
    with pytest.raises(ValueError, match=r"\[36\], expected .*\[36, 3\]; .* use .*predict$"):
        predict_multi_label(encoder, xd.paired_loader(single, 12))


def change(path: Path, name: str, value) -> None:
    with h5py.File(path, "r+") as file:
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = value
        file[name].attrs.update(attributes)


def test_damaged_files_are_named(root):
    path = root / FILE
    with pytest.raises(FileNotFoundError, match=r"is missing; .*https://"):
        mm_imdb(root / "none")
    change(path, "vgg_features", np.zeros((60, 100), np.float32))
    with pytest.raises(ValueError, match=r"\(60, 100\)\}, expected as many films"):
        mm_imdb(root)
    bad = np.zeros((60, 4096), np.float32)
    bad[3, 5] = np.inf
    change(path, "vgg_features", bad)
    with pytest.raises(ValueError, match="infinite values in row 3 of vgg_features"):
        mm_imdb(root).train.read("image_features", 3)
    with h5py.File(path, "r+") as file:
        table = file.attrs["split"]
        table["stop"][table["split"] == b"dev"] += 1
        file.attrs["split"] = table
    with pytest.raises(ValueError, match=r"parts \[\(0, 36\), \(36, 43\), \(42, 60\)\]"):
        mm_imdb(root)
    with h5py.File(path, "r+") as file:
        file["genres"].attrs["target_names"] = json.dumps(["Drama"])
    with pytest.raises(ValueError, match="under 1 names"):
        mm_imdb(root)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ValueError, match="cannot be read as MM-IMDb's HDF5 file"):
        mm_imdb(root)


@pytest.mark.parametrize("modalities", ["image", [], ["plot"]])
def test_options_out_of_range(whole, modalities):
    with pytest.raises(ValueError, match="modalities is a list of one or more of 'text_features'"):
        mm_imdb(whole, modalities=modalities)


def test_the_card(whole):
    assert CARD.name == "mm_imdb" and (whole / CARD.files[0]).is_file()


def test_arrays_in_another_file_are_followed_where_that_is_allowed(root, whole):
    (root / FILE).rename(root / "elsewhere.hdf5")
    with h5py.File(root / "elsewhere.hdf5") as there, h5py.File(root / FILE, "w") as file:
        file.attrs["split"] = there.attrs["split"]
        for name in there:
            file[name] = h5py.ExternalLink("elsewhere.hdf5", name)
    told = rf"{FILE}: 'genres' is a link to another file.*pass allow_outside=True$"
    with pytest.raises(ValueError, match=told):
        mm_imdb(root)
    linked = mm_imdb(root, modalities=ALL, allow_outside=True).train
    expected = mm_imdb(whole, modalities=ALL).train
    for name in ALL:
        torch.testing.assert_close(linked.read(name, 1), expected.read(name, 1))
