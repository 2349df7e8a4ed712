"""Features of Sleep-EDF: columns, stages, folds, what training rows decide, broken files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.adapters.sleep_edf_features import CARD, FEATURES, MODALITIES, read_night
from xdistill.data.adapters.sleep_edf_features import sleep_edf_features as load
from xdistill.data.samples import write_sleep_edf_features_sample
from xdistill.data.sleep_stages import STAGES

SMALL = {"folds": 3, "wake_minutes": 5.0}
FIRST = "features/SC4001E0.npz"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_sleep_edf_features_sample(tmp_path_factory.mktemp("sleep_edf_features"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "sleep_edf_features"))


def change(path: Path, **arrays) -> None:
    with np.load(path) as stored:
        np.savez(path, **{**dict(stored), **arrays})


def nearest_mean(splits: xd.Splits, name: str) -> float:
    """Accuracy on the test part of the nearest stage mean of the training part."""
    train, test = splits.train, splits.test
    means = torch.stack([train.inputs[name][train.target == k].mean(dim=0) for k in range(5)])
    found = torch.cdist(test.inputs[name], means).argmin(dim=1)
    return float((found == test.target).double().mean())


def test_rows_hold_the_features_of_their_modalities(whole):
    splits = xd.create_dataset(
        "sleep_edf_features", root=str(whole), modalities=list(MODALITIES), standardise=False
    )
    part = splits.val
    assert part.classes == STAGES and len(FEATURES) == 35
    assert {name: part.inputs[name].shape[1] for name in part.inputs} == {
        "eeg_eog": 105,
        "eeg_pz": 35,
        "eog": 35,
        "eog_basic": 3,
    }
    stored = {path.stem: np.load(path) for path in whole.glob("features/*.npz")}
    for row in range(0, len(part), 7):
        night, place = part.ids[row].split("/")
        given = torch.from_numpy(stored[night]["features"][int(place)])
        for channel in range(3):  # band powers of each channel, as logarithms
            given[35 * channel + 24 : 35 * channel + 30].log_()
        expected = given.float()
        assert torch.equal(part.read("eeg_eog", row), expected)
        assert torch.equal(part.read("eeg_pz", row), expected[35:70])
        assert torch.equal(part.read("eog", row), expected[70:])
        assert torch.equal(part.read("eog_basic", row), expected[[70, 71, 74]])
        label = int(stored[night]["labels"][int(place)])
        assert int(part.target[row]) == {0: 0, 1: 1, 2: 2, 3: 3, 4: 3, 5: 4}[label]
        assert int(part.group[row]) == int(night[3:5])


def test_wakefulness_is_trimmed_and_unscored_rows_are_left_out(whole):
    _, stage, rows = read_night(whole / "features/SC4001E0.npz", wake_minutes=5.0)
    asleep = stage.nonzero().flatten()
    assert asleep[0] == 10 and len(stage) - 1 - asleep[-1] == 10
    _, all_day, rows = read_night(whole / "features/SC4001E0.npz", wake_minutes=None)
    assert len(all_day) == 119 and rows.tolist() == list(range(119))


def test_each_subject_is_tested_once(whole):
    tested = []
    for fold in range(3):
        splits = load(whole, fold=fold, **SMALL)
        xd.check_disjoint(splits)
        subjects = [part.group.unique().tolist() for part in splits]
        assert sorted(one for part in subjects for one in part) == list(range(6))
        tested += subjects[2]
    assert sorted(tested) == list(range(6))


def test_the_training_rows_alone_set_the_scale(root):
    splits = load(root, **SMALL)
    column = splits.train.inputs["eog"]
    torch.testing.assert_close(column.mean(0), torch.zeros(35), atol=1e-4, rtol=0)
    torch.testing.assert_close(column.std(0, correction=0), torch.ones(35))
    for subject in {*splits.val.group.tolist(), *splits.test.group.tolist()}:
        path = root / f"features/SC4{subject:02d}1E0.npz"
        with np.load(path) as stored:
            features = stored["features"] * 1e3
        change(path, features=features)
    moved = load(root, **SMALL)
    assert torch.equal(moved.train.inputs["eog"], column)
    assert not torch.equal(moved.test.inputs["eog"], splits.test.inputs["eog"])


def test_the_stages_can_be_told_and_a_seed_decides(whole, tmp_path):
    splits = load(whole, modalities=list(MODALITIES), **SMALL)
    assert nearest_mean(splits, "eeg_eog") > 0.8
    again = write_sleep_edf_features_sample(tmp_path / "again", subjects=[0])
    other = write_sleep_edf_features_sample(tmp_path / "other", subjects=[0], seed=1)
    first, same, different = (np.load(r / FIRST)["features"] for r in (whole, again, other))
    assert np.array_equal(first, same) and not np.array_equal(first, different)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"SC4001E0.npz and all other nights .*github.com"):
        load(tmp_path)


def test_damaged_files_are_named(root):
    path = root / FIRST
    content = path.read_bytes()
    for broken in (content[:1000], b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"SC4001E0.npz cannot be read as an npz"):
            load(root, **SMALL)
    path.write_bytes(content)
    features, labels = (np.load(path)[name] for name in ("features", "labels"))
    bad = features.copy()
    bad[3, 7] = np.nan
    still = features.copy()
    still[60, 24] = 0
    for arrays, message in (
        ({"features": features[:, :70]}, r"features \(120, 70\) and labels \(120,\), expected"),
        ({"features": features[1:]}, r"features \(119, 105\)"),
        ({"features": bad}, "1 values that are NaN"),
        ({"features": still}, "a band power that is not positive"),
        ({"labels": labels + 2}, "expected 0 to 6"),
        ({"labels": labels * 0}, "has no row of sleep"),
    ):
        path.write_bytes(content)
        change(path, **arrays)
        with pytest.raises(ValueError, match=f"SC4001E0.npz has .*{message}|{message}"):
            load(root, **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "eog"}, "one or more of 'eeg_eog', 'eeg_pz', 'eog', 'eog_basic'"),
        ({"modalities": ["emg"]}, "modalities is a list"),
        ({"folds": 7}, r"from 2 to the number of groups \(subjects\), 6, .* folds=7"),
        ({"val_subjects": 4}, "got 4"),
        ({"wake_minutes": -1.0}, "0 or more, or None"),
    ],
)
def test_options_out_of_range(whole, options, message):
    with pytest.raises(ValueError, match=message):
        load(whole, **{**SMALL, **options})


def test_the_card(whole):
    assert CARD.name in xd.list_datasets()
    assert {name for pair in CARD.pairs for name in pair} == set(MODALITIES)
    assert all(any(whole.glob(pattern)) for pattern in CARD.files)


def test_the_real_files(shared_data):
    splits = load(shared_data("sleep_edf_sc_features"), modalities=list(MODALITIES))
    assert sum(map(len, splits)) == 18_000
    assert [len(part.group.unique()) for part in splits] == [14, 2, 4]
    counts = torch.stack([part.target.bincount(minlength=5) for part in splits]).sum(dim=0)
    assert counts.tolist() == [3197, 804, 8367, 2059, 3573]
    found = {name: nearest_mean(splits, name) for name in MODALITIES}
    assert found["eeg_eog"] > found["eog_basic"] > 0.4


def test_context_puts_the_neighbouring_rows_of_the_night_beside_each_row(whole):
    names = ["eeg_eog", "eog"]
    plain, wide = (
        load(whole, modalities=names, context=context, **SMALL) for context in ({}, {"eog": 2})
    )
    for one, other in zip(plain, wide, strict=True):
        assert torch.equal(one.inputs["eeg_eog"], other.inputs["eeg_eog"])
        night = [name.partition("/")[0] for name in one.ids]
        rows = other.inputs["eog"].view(len(one), 5, 35)
        for row in range(len(one)):
            first = night.index(night[row])
            last = first + night.count(night[row]) - 1
            for place, step in enumerate(range(-2, 3)):
                near = min(max(row + step, first), last)
                assert torch.equal(rows[row, place], one.inputs["eog"][near]), (row, step)


@pytest.mark.parametrize("context", [{"eeg_pz": 1}, {"eog": -1}, {"eog": 1.5}])
def test_a_context_of_another_modality_or_of_no_rows_is_refused(whole, context):
    with pytest.raises(ValueError, match="context is a number of rows"):
        load(whole, modalities=["eeg_eog", "eog"], context=context, **SMALL)
