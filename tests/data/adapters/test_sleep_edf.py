"""Sleep-EDF: the files, epochs and stages, signals at their own rates, folds, broken files."""

import pickle
from datetime import datetime
from pathlib import Path

import mne
import numpy as np
import pytest
import torch

import xdistill as xd
from tests.data.adapters.sleep_edf_sample import FIRST, NAMES, SMALL, three_subjects
from xdistill.data.adapters.sleep_edf.adapter import CARD, sleep_edf
from xdistill.data.adapters.sleep_edf.index import find_nights, trim_wake
from xdistill.data.adapters.sleep_edf.nights import read_epochs
from xdistill.data.files.edf import Waveform, read_edf_header, write_edf, write_edf_annotations
from xdistill.data.files.edf_annotations import read_edf_annotations
from xdistill.data.samples import write_sleep_edf_sample
from xdistill.data.sleep_stages import STAGES, scored_epochs


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_sleep_edf_sample(tmp_path_factory.mktemp("sleep_edf"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return three_subjects(whole, tmp_path)


def rows_of(part: xd.PairedDataset, name: str) -> torch.Tensor:
    return torch.stack([part.read(name, row) for row in range(len(part))])


def test_shapes_and_rows(whole):
    splits = xd.create_dataset("sleep_edf", root=str(whole), **SMALL)
    shapes = {name: (c, t) for name, c, t in (("eeg", 2, 3000), ("eog", 1, 3000))}
    shapes |= {"emg": (1, 30), "resp": (1, 30)}
    row = splits.train[3].inputs
    assert {name: tuple(value.shape) for name, value in row.items()} == shapes
    assert all(value.dtype == torch.float32 for value in row.values())
    for part in splits:
        assert part.classes == STAGES == ("W", "N1", "N2", "N3", "REM")
        assert len(part.target.unique()) == 5
        for name, group, start_s in zip(part.ids, part.group, part.start_s, strict=True):
            assert name == f"SC4{int(group):02d}1E0/{int(start_s) // 30}"
    xd.audit(splits.test, required=("eog",), optional=("eeg", "emg", "resp"))


def test_no_subject_is_in_two_parts_and_each_is_tested_once(whole):
    options = {"modalities": ["emg"], **SMALL}
    tested = []
    for fold in range(3):
        splits = sleep_edf(whole, fold=fold, **options)
        xd.check_disjoint(splits)
        subjects = [part.group.unique().tolist() for part in splits]
        assert sorted(one for part in subjects for one in part) == list(range(6))
        assert [len(part) for part in subjects] == [3, 1, 2]
        tested += subjects[2]
    assert sorted(tested) == list(range(6))
    single = sleep_edf(whole, modalities=["emg"], folds=6, fold=5, val_subjects=2)
    assert [part.group.unique().tolist() for part in single] == [[2, 3, 4], [0, 1], [5]]
    some = sleep_edf(whole, modalities=["emg"], folds=3, subjects=[1, 3, 4])
    assert [part.group.unique().tolist() for part in some] == [[4], [3], [1]]


def test_each_signal_has_its_own_rate_and_microvolts(tmp_path):
    """What was written is read, sample for sample: a slow signal is never resampled."""
    rng = np.random.default_rng(0)
    waves = [
        Waveform("EEG Fpz-Cz", "uV", 100, 200.0, rng.uniform(-150, 150, 12000)),
        Waveform("EEG Pz-Oz", "mV", 100, 0.2, rng.uniform(-0.15, 0.15, 12000)),
        Waveform("EOG horizontal", "uV", 100, 1000.0, rng.uniform(-800, 800, 12000)),
        Waveform("Resp oro-nasal", "", 1, 2047.0, rng.integers(-2000, 2000, 120)),
        Waveform("EMG submental", "uV", 1, 5.0, rng.uniform(0, 5, 120)),
    ]
    start = datetime(1990, 1, 2, 20)
    write_edf(tmp_path / FIRST, waves, start=start)
    blocks = [(0.0, 30.0, "Sleep stage 2"), (30.0, 30.0, "Movement time")]
    blocks += [(60.0, 60.0, "Sleep stage R")]
    write_edf_annotations(tmp_path / "SC4001EW-Hypnogram.edf", blocks, start=start)
    (night,) = find_nights(tmp_path, modalities=NAMES)
    assert [epoch.stage for epoch in night.epochs] == [2, 4, 4]
    for name, channels, step_uv in (
        ("eeg", [(waves[0], 1), (waves[1], 1000)], 200 / 2047),
        ("eog", [(waves[2], 1)], 1000 / 2047),
        ("emg", [(waves[4], 1)], 5 / 2047),
        ("resp", [(waves[3], 1)], 1),
    ):
        expected = np.stack(
            [wave.samples.reshape(4, -1)[[0, 2, 3]] * factor for wave, factor in channels], axis=1
        )
        found = read_epochs(night, name).numpy()
        assert found.shape == expected.shape
        assert abs(found - expected).max() <= 0.51 * step_uv


def test_rows_are_those_of_the_recording_at_their_start(whole):
    """A twin: all of a recording, read by mne and cut at `start_s`."""
    part = sleep_edf(whole, modalities=["eeg", "resp"], **SMALL).test
    picked = [row for row in range(len(part)) if part.ids[row].startswith("SC4001")]
    psg = whole / "sleep-cassette" / FIRST
    eeg = mne.io.read_raw_edf(psg, include=["EEG Fpz-Cz", "EEG Pz-Oz"], verbose="error")
    resp = mne.io.read_raw_edf(psg, include=["Resp oro-nasal"], verbose="error")
    for row in picked[:: len(picked) // 5]:
        at = int(part.start_s[row])
        signal = torch.from_numpy(eeg.get_data(start=100 * at, stop=100 * (at + 30)) * 1e6)
        assert torch.allclose(part.read("eeg", row), signal.float())
        breath = torch.from_numpy(resp.get_data(start=at, stop=at + 30))
        assert torch.allclose(part.read("resp", row), breath.float())


def test_wakefulness_is_trimmed_around_sleep():
    epochs = scored_epochs(
        [
            (0.0, 600.0, "Sleep stage W"),
            (600.0, 60.0, "Sleep stage 1"),
            (660.0, 300.0, "Sleep stage W"),
            (960.0, 30.0, "Sleep stage R"),
            (990.0, 45.0, "Sleep stage W"),
        ]
    )
    assert [epoch.start_s for epoch in trim_wake(epochs, 1.0)] == list(range(540, 1020, 30))
    assert [epoch.start_s for epoch in trim_wake(epochs, 0.0)] == list(range(600, 990, 30))
    assert trim_wake(epochs, None) == trim_wake(epochs, 1e6) == epochs
    assert trim_wake(epochs[:20], 30.0) == []


def test_the_stages_can_be_told_from_every_modality(whole):
    splits = sleep_edf(whole, **SMALL)

    def features(part: xd.PairedDataset, name: str) -> torch.Tensor:
        signal = rows_of(part, name)[:, 0]
        power = torch.fft.rfft(signal - signal.mean(dim=1, keepdim=True)).abs()[:, 1:]
        bands = [band.mean(dim=1) for band in power.tensor_split(power.shape[1] // 15, dim=1)]
        return torch.stack([signal.mean(dim=1).abs() + 0.1, *bands], dim=1).log()

    chance = splits.test.target.bincount().max() / len(splits.test)
    for name in NAMES:
        train, test = features(splits.train, name), features(splits.test, name)
        means = torch.stack([train[splits.train.target == k].mean(dim=0) for k in range(5)])
        spread = train.std(dim=0)
        found = torch.cdist(test / spread, means / spread).argmin(dim=1)
        accuracy = (found == splits.test.target).double().mean()
        assert accuracy > chance + 0.1, (name, accuracy, chance)


def test_the_sample_follows_from_its_seed(whole, tmp_path):
    again = write_sleep_edf_sample(tmp_path / "again", subjects=[0])
    other = write_sleep_edf_sample(tmp_path / "other", subjects=[0], nights=2, seed=1)
    for name in (FIRST, "SC4001EC-Hypnogram.edf"):
        stored = (whole / "sleep-cassette" / name).read_bytes()
        assert (again / "sleep-cassette" / name).read_bytes() == stored
        assert (other / "sleep-cassette" / name).read_bytes() != stored
    assert len(list((other / "sleep-cassette").glob("SC4002E*"))) == 2
    texts = {
        text
        for *_, text in read_edf_annotations(again / "sleep-cassette/SC4001EC-Hypnogram.edf").blocks
    }
    assert texts > {"Sleep stage ?", "Movement time"}


def test_nights_are_converted_once_and_mapped(root, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = sleep_edf(root, cache=cache, **SMALL)
    expected = rows_of(first.train, "eeg")
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(files) == 3 * 4
    monkeypatch.setattr("xdistill.data.adapters.sleep_edf.nights.read_epochs", None)
    second = sleep_edf(root, cache=cache, **SMALL)
    second.train.read("eeg", 0).zero_()  # a row of one's own, not the file's
    assert torch.equal(rows_of(second.train, "eeg"), expected)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == files
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(cache / "eeg-") in maps.read_text()


def test_other_epochs_and_changed_recordings_are_converted_again(root, tmp_path):
    cache = tmp_path / "cache"
    options = {"modalities": ["emg"], "folds": 3, "cache": cache}
    train = sleep_edf(root, wake_minutes=2, **options).train
    sleep_edf(root, wake_minutes=1, **options)
    assert len(list(cache.iterdir())) == 6
    other = write_sleep_edf_sample(tmp_path / "other", subjects=[2], seed=0, epochs=60)
    night = other / "sleep-cassette" / "SC4021E0-PSG.edf"
    content = bytearray(night.read_bytes())
    content[2048:] = bytes(len(content) - 2048)
    (root / night.name).write_bytes(content)
    changed = sleep_edf(root, wake_minutes=2, **options).train
    assert train.ids == changed.ids and len(list(cache.iterdir())) == 7
    assert bool(rows_of(train, "emg").any()) and not bool(rows_of(changed, "emg").any())


def test_a_damaged_file_of_the_cache_is_made_again(root, tmp_path):
    options = {"modalities": ["eog"], "cache": tmp_path / "cache", **SMALL}
    expected = rows_of(sleep_edf(root, **options).train, "eog")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is damaged .* it is written again"):
        found = rows_of(sleep_edf(root, **options).train, "eog")
    assert torch.equal(found, expected)


def test_workers_read_the_same(whole):
    train = sleep_edf(whole, **SMALL).train
    train.read("eeg", 0)
    content = pickle.dumps(train)
    assert len(content) < 200_000  # no signal in it
    batches = [
        next(iter(xd.paired_loader(pickle.loads(content), 8, shuffle=True, num_workers=n)))
        for n in (0, 1)
    ]
    for name in NAMES:
        assert torch.equal(batches[0].inputs[name], batches[1].inputs[name])
    assert batches[0].inputs["eeg"].shape == (8, 2, 3000)


def test_epochs_after_the_end_of_the_recording_are_left_out(root):
    hypnogram = root / "SC4001EC-Hypnogram.edf"
    blocks = [(0.0, 900.0, "Sleep stage W"), (900.0, 3600.0, "Sleep stage 2")]
    start = datetime.strptime(read_edf_header(hypnogram).start, "%d.%m.%y%H.%M.%S")
    write_edf_annotations(hypnogram, blocks, start=start)
    night = find_nights(root, modalities=["emg"])[0]
    assert [epoch.start_s for epoch in night.epochs] == list(range(0, 1800, 30))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "eeg"}, "one or more of 'eeg', 'eog', 'emg', 'resp', got 'eeg'"),
        ({"modalities": ["eeg", "temp"]}, "modalities is a list"),
        ({"modalities": []}, "modalities is a list"),
        ({"folds": 7}, r"from 2 to the number of groups \(subjects\), 6, .* folds=7"),
        ({"folds": 1}, "folds=1"),
        ({"fold": 3}, "folds=3 and fold=3"),
        ({"val_subjects": 4}, "from 1 to 3, so that some of the 4 .* got 4"),
        ({"val_subjects": 0}, "got 0"),
        ({"wake_minutes": -1}, "0 or more, or None"),
    ],
)
def test_options_out_of_range(whole, options, message):
    with pytest.raises(ValueError, match=message):
        sleep_edf(whole, **{**SMALL, **options})


def test_the_card(whole):
    assert CARD.name in xd.list_datasets()
    assert CARD.classes == len(STAGES)
    assert {name for pair in CARD.pairs for name in pair} == set(
        sleep_edf(whole, **SMALL).train.modalities
    )
    assert all(any(whole.glob(pattern)) for pattern in CARD.files)
