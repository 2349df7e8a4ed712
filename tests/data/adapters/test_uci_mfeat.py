"""Multiple features: both layouts, the folds, and what training rows alone decide."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.adapters.uci_mfeat import CARD, FEATURES, read_features, uci_mfeat
from xdistill.data.samples import write_uci_mfeat_sample


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_uci_mfeat_sample(tmp_path_factory.mktemp("uci_mfeat"), modalities=("mor", "zer"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "uci_mfeat"))


def nearest_mean(splits: xd.Splits, view: str) -> float:
    """Accuracy on the test part of the nearest class mean of the training part."""
    train, test = splits.train, splits.test
    means = torch.stack([train.inputs[view][train.target == k].mean(dim=0) for k in range(10)])
    found = torch.cdist(test.inputs[view], means).argmin(dim=1)
    return float((found == test.target).double().mean())


def test_two_views_of_the_same_numerals(whole):
    splits = xd.create_dataset("uci_mfeat", root=str(whole), modalities=["zer", "mor"])
    assert [len(part) for part in splits] == [1200, 400, 400]
    for part in splits:
        assert torch.bincount(part.target).tolist() == [len(part) // 10] * 10
        assert [digit[0] for digit in part.ids] == [part.classes[k] for k in part.target.tolist()]
    xd.check_disjoint(splits)
    row = splits.train[0]
    assert row.inputs["zer"].shape == (47,) and row.inputs["mor"].shape == (6,)
    assert row.inputs["mor"].dtype == torch.float32
    assert nearest_mean(splits, "zer") > 0.8 and nearest_mean(splits, "mor") > 0.4


def test_rows_of_the_views_belong_together(whole):
    splits = uci_mfeat(whole, modalities=["mor", "zer"], standardise=False)
    for view in ("mor", "zer"):
        table = read_features(whole, view).float()
        digit, place = map(int, splits.val.ids[17].split("_"))
        assert torch.equal(splits.val.read(view, 17), table[200 * digit + place])


def test_both_layouts_hold_the_same(whole, tmp_path):
    write_uci_mfeat_sample(tmp_path, modalities=("mor",), csv=True)
    assert torch.equal(read_features(tmp_path, "mor"), read_features(whole, "mor"))


def test_the_sample_follows_from_its_seed(whole, tmp_path):
    write_uci_mfeat_sample(tmp_path / "same", modalities=("mor",))
    write_uci_mfeat_sample(tmp_path / "other", modalities=("mor",), seed=1)
    written = (whole / "mfeat-mor").read_bytes()
    assert (tmp_path / "same" / "mfeat-mor").read_bytes() == written
    assert (tmp_path / "other" / "mfeat-mor").read_bytes() != written


def test_every_numeral_is_tested_once_and_validates_once(whole):
    folds = [uci_mfeat(whole, modalities=["mor"], folds=4, fold=k) for k in range(4)]
    for part in ("val", "test"):
        names = [name for fold in folds for name in getattr(fold, part).ids]
        assert len(names) == len(set(names)) == 2000
    for fold in folds:
        assert len(set().union(*(part.ids for part in fold))) == 2000
    other = uci_mfeat(whole, modalities=["mor"], folds=4, seed=1)
    assert set(other.test.ids) != set(folds[0].test.ids)
    assert folds[0].test.ids == uci_mfeat(whole, modalities=["mor"], folds=4).test.ids


def test_the_training_rows_alone_set_the_scale(root):
    splits = uci_mfeat(root, modalities=["mor"])
    torch.testing.assert_close(
        splits.train.inputs["mor"].mean(0), torch.zeros(6), atol=1e-5, rtol=0
    )
    spread = splits.train.inputs["mor"].std(0, correction=0)
    torch.testing.assert_close(spread, torch.ones(6))
    table = read_features(root, "mor").numpy().copy()
    for part in (splits.val, splits.test):
        for name in part.ids:
            digit, place = map(int, name.split("_"))
            table[200 * digit + place] += 1e4
    np.savetxt(root / "mfeat-mor", table)
    moved = uci_mfeat(root, modalities=["mor"])
    torch.testing.assert_close(moved.train.inputs["mor"], splits.train.inputs["mor"])
    assert float(moved.test.inputs["mor"].min()) > 20


def test_a_feature_without_variance_in_training_is_centred(root):
    table = read_features(root, "mor").numpy().copy()
    table[:, 2] = 0.1
    np.savetxt(root / "mfeat-mor", table)
    splits = uci_mfeat(root, modalities=["mor"])
    assert float(splits.test.inputs["mor"][:, 2].abs().max()) < 1e-6


def test_missing_files_say_whose_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mfeat-fac.csv is missing.*archive.ics.uci.edu"):
        uci_mfeat(tmp_path)


def _cut_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _cut_rows(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1990]))


def _text(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


def _nan(path: Path) -> None:
    path.write_text("nan" + path.read_text()[path.read_text().index(" ") :])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut_line, "cannot be read as a table of numbers"),
        (_cut_rows, r"has shape \(1990, 6\), expected"),
        (_text, "cannot be read as a table of numbers"),
        (_nan, r"has shape \(2000, 6\), .* and 1 values that are NaN"),
    ],
)
def test_damaged_files_are_named(root, damage, message):
    damage(root / "mfeat-mor")
    with pytest.raises(ValueError, match=f"mfeat-mor {message}"):
        uci_mfeat(root, modalities=["zer", "mor"])


def test_a_csv_in_another_order_is_refused(tmp_path):
    write_uci_mfeat_sample(tmp_path, modalities=("mor",), csv=True)
    names, *lines = (tmp_path / "mfeat-mor.csv").read_text().splitlines(keepends=True)
    (tmp_path / "mfeat-mor.csv").write_text("".join([names, *lines[::-1]]))
    with pytest.raises(ValueError, match=r"mfeat-mor.csv: the last column is not 200 times"):
        uci_mfeat(tmp_path, modalities=["mor"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ["px"]}, "modalities is a list of one or more of"),
        ({"modalities": "mor"}, "modalities is a list of one or more of"),
        ({"modalities": []}, "modalities is a list of one or more of"),
        ({"folds": 2}, "folds must be from 3"),
        ({"fold": 5}, "got folds=5 and fold=5"),
    ],
)
def test_options_out_of_range(whole, options, message):
    with pytest.raises(ValueError, match=message):
        uci_mfeat(whole, **options)


def test_the_card():
    assert CARD.name in xd.list_datasets()
    assert len(set(CARD.pairs)) == 30


def test_the_real_files(shared_data):
    splits = uci_mfeat(shared_data("uci_mfeat"), modalities=list(FEATURES))
    assert [len(part) for part in splits] == [1200, 400, 400]
    widths = {view: splits.train.inputs[view].shape[1] for view in FEATURES}
    assert widths == FEATURES
    found = {view: nearest_mean(splits, view) for view in FEATURES}
    assert found["fac"] > 0.85 and found["pix"] > 0.85 and found["mor"] < found["fac"]
    for part in splits:
        assert all(bool(torch.isfinite(column).all()) for column in part.inputs.values())
