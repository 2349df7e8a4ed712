"""Sleep-EDF's files as they are found: missing, damaged, with gaps, in other units and letters."""

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.adapters.sleep_edf_sample import FIRST, NAMES, SMALL, START, three_subjects
from tests.data.files.edf_plus import write_edf_plus
from xdistill.data.adapters.sleep_edf.adapter import sleep_edf
from xdistill.data.adapters.sleep_edf.index import find_nights
from xdistill.data.adapters.sleep_edf.nights import read_epochs
from xdistill.data.files.edf import Waveform, write_edf, write_edf_annotations
from xdistill.data.files.edf_annotations import read_edf_annotations
from xdistill.data.samples import write_sleep_edf_sample
from xdistill.data.sleep_stages import STAGES


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_sleep_edf_sample(tmp_path_factory.mktemp("sleep_edf"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return three_subjects(whole, tmp_path)


def test_missing_files_are_named(root, tmp_path):
    source = r"the layout is .*SC4ssNE0-PSG.edf.* distributed at https://physionet.org"
    with pytest.raises(
        FileNotFoundError, match=f"SC4001E0-PSG.edf and all others are missing; {source}"
    ):
        sleep_edf(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=rf"no recording of subject 7, 19; .*0, 1, 2; {source}"
    ):
        sleep_edf(root, subjects=[1, 7, 19])
    (root / "SC4011EC-Hypnogram.edf").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=rf"1 of 3 recordings have no hypnogram .*SC4011E0-PSG.edf needs SC4011Ex.*{source}",
    ):
        sleep_edf(root, **SMALL)
    (root / "SC4011E0-PSG.edf").unlink()
    assert len(find_nights(root, modalities=["emg"])) == 2


def test_a_missing_signal_is_named(root):
    path = root / FIRST
    path.write_bytes(path.read_bytes().replace(b"EMG submental", b"EMG chin     ", 1))
    with pytest.raises(ValueError, match=r"SC4001E0-PSG.edf has no signal 'EMG submental', .*chin"):
        sleep_edf(root, **SMALL)
    assert len(sleep_edf(root, modalities=["eeg", "resp"], **SMALL).train)


def test_another_rate_is_refused(root):
    names = ("EEG Fpz-Cz", "EEG Pz-Oz")
    waves = [Waveform(name, "uV", 50, 200.0, np.zeros(3000)) for name in names]
    write_edf(root / FIRST, waves, start=datetime(1989, 4, 25))
    with pytest.raises(ValueError, match="has 'EEG Fpz-Cz' at 50 Hz, expected 100 Hz"):
        sleep_edf(root, modalities=["eeg"], **SMALL)


@pytest.mark.parametrize(
    ("name", "kept", "message"),
    [
        (FIRST, 100, "has no EDF header"),
        (FIRST, 20_000, "announces 60 records and so .* it is truncated"),
        ("SC4001EC-Hypnogram.edf", 0, "has no EDF header"),
        ("SC4001EC-Hypnogram.edf", 600, "it is truncated"),
    ],
)
def test_damaged_files_are_named(root, name, kept, message):
    (root / name).write_bytes((root / name).read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"{name} .*{message}"):
        sleep_edf(root, **SMALL)


@pytest.mark.parametrize(
    ("blocks", "minute", "message"),
    [
        ([(0.0, 900.0, "Sleep stage W")], 13, "scores no sleep in the 1800 s of SC4001E0-PSG.edf"),
        ([(0.0, 900.0, "Sleep stage 5")], 13, "'Sleep stage 5' is no sleep stage"),
        ([], 13, "holds no annotation"),
        ([(0.0, 900.0, "Sleep stage 2")], 14, "starts at 25.04.8916.14.00 .* at 25.04.8916.13.00"),
    ],
)
def test_hypnograms_that_do_not_fit(root, blocks, minute, message):
    hypnogram = root / "SC4001EC-Hypnogram.edf"
    write_edf_annotations(hypnogram, blocks, start=datetime(1989, 4, 25, 16, minute))
    with pytest.raises(ValueError, match=f"SC4001EC-Hypnogram.edf.* {message}"):
        sleep_edf(root, **SMALL)


def test_every_label_after_a_gap_sits_on_the_right_signal(tmp_path):
    """EDF+D: ten minutes without a record after the second epoch; values tell the second."""
    seconds = [*range(60), *range(660, 780)]
    start = datetime(1990, 1, 2, 20)
    signal = {"EMG submental": np.array(seconds, float)}
    write_edf_plus(tmp_path / FIRST, signal, 1, onsets=seconds, start=start)
    blocks = [(0.0, 30.0, "W"), (30.0, 30.0, "1"), (60.0, 600.0, "2")]
    blocks += [(660.0 + 30 * at, 30.0, stage) for at, stage in enumerate("123R")]
    blocks = [(at, s, text if text == "W" else f"Sleep stage {text}") for at, s, text in blocks]
    write_edf_annotations(tmp_path / "SC4001EW-Hypnogram.edf", blocks, start=start)
    with pytest.warns(UserWarning, match=r"PSG.edf has gaps: 20 of 26 scored epochs were not"):
        (night,) = find_nights(tmp_path, modalities=["emg"])
    assert [epoch.start_s for epoch in night.epochs] == [0, 30, 660, 690, 720, 750]
    assert [STAGES[epoch.stage] for epoch in night.epochs] == ["W", "N1", "N1", "N2", "N3", "REM"]
    found = read_epochs(night, "emg")[:, 0]
    expected = torch.tensor([epoch.start_s for epoch in night.epochs])[:, None] + torch.arange(30)
    torch.testing.assert_close(found, expected.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("nV", 1e-3),
        ("uV", 1),
        ("\u00b5V", 1),
        ("\u00b5V".encode().decode("latin-1"), 1),  # UTF-8, by the micro sign or a Greek mu
        ("\u03bcV".encode().decode("latin-1"), 1),
        ("mV", 1e3),
        ("V", 1e6),
    ],
)
def test_values_are_in_microvolts_whatever_the_file_says(tmp_path, unit, factor):
    start = datetime(1990, 1, 2, 20)
    wave = Waveform("EMG submental", unit, 1, 2047.0, np.arange(120))
    write_edf(tmp_path / FIRST, [wave], start=start)
    blocks = [(0.0, 120.0, "Sleep stage 2")]
    write_edf_annotations(tmp_path / "SC4001EW-Hypnogram.edf", blocks, start=start)
    (night,) = find_nights(tmp_path, modalities=["emg"])
    expected = torch.arange(120).view(4, 1, 30) * factor
    torch.testing.assert_close(read_epochs(night, "emg"), expected.float(), atol=0, rtol=1e-5)
    for wrong in ("", "mmHg", "%"):
        write_edf(tmp_path / FIRST, [wave._replace(unit=wrong)], start=start)
        with pytest.raises(ValueError, match=rf"'EMG submental' in {wrong or 'no unit'}, expected"):
            find_nights(tmp_path, modalities=["emg"])


def test_labels_in_capitals_and_without_their_type(root):
    """The same rows as under the names of the data set."""
    path = root / FIRST
    (night,) = find_nights(root, modalities=NAMES, subjects=[0])
    expected = {name: read_epochs(night, name) for name in NAMES}
    for old, new in ((b"EEG Fpz-Cz", b"EEG FPZ-CZ"), (b"EMG submental", b"Submental    ")):
        path.write_bytes(path.read_bytes().replace(old, new, 1))
    (night,) = find_nights(root, modalities=NAMES, subjects=[0])
    for name in NAMES:
        assert torch.equal(read_epochs(night, name), expected[name])


def test_a_signal_without_a_scale_is_refused(root):
    path = root / FIRST
    path.write_bytes(path.read_bytes().replace(b"-192    ", b"192     ", 1))
    with pytest.raises(ValueError, match=r"'EEG Fpz-Cz' from 192 to 192 uV .* calibration"):
        sleep_edf(root, **SMALL)
    assert len(sleep_edf(root, modalities=["emg"], **SMALL).train)


def test_a_recording_that_was_not_closed(root):
    (night,) = find_nights(root, modalities=["emg"], subjects=[0])
    expected = read_epochs(night, "emg")
    path = root / FIRST
    content = bytearray(path.read_bytes())
    content[236:244] = b"-1      "
    path.write_bytes(bytes(content))
    with pytest.warns(UserWarning) as caught:
        (night,) = find_nights(root, modalities=["emg"], subjects=[0])
        assert torch.equal(read_epochs(night, "emg"), expected)
    said = {str(one.message) for one in caught}
    assert any("was not closed: its header tells no number of records" in one for one in said)
    assert any("mne warns: Number of records from the header" in one for one in said)


def test_annotations_in_latin_1(tmp_path):
    path = tmp_path / "x.edf"
    write_edf_annotations(path, [(0.0, 30.0, "Sleep stage 2"), (30.0, 30.0, "M?de")], start=START)
    path.write_bytes(path.read_bytes().replace(b"M?de", b"M\xfcde"))
    assert read_edf_annotations(path).blocks == [
        (0.0, 30.0, "Sleep stage 2"),
        (30.0, 30.0, "M\u00fcde"),
    ]


def test_two_hypnograms_of_one_night_are_refused(root):
    shutil.copy(root / "SC4001EC-Hypnogram.edf", root / "SC4001EH-Hypnogram.edf")
    with pytest.raises(ValueError, match=r"the hypnograms SC4001EC.*, SC4001EH.*, expected one"):
        sleep_edf(root, **SMALL)
