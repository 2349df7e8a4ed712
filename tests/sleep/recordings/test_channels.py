"""Which channels are read: by names that mean the same, derived, several, or none."""

import numpy as np
import pytest

from tests.sleep.recordings.files import Wave, eeg_like, raw_of, write_edf_c
from xdistill.sleep.recordings import read_recording
from xdistill.sleep.recordings.names import canonical

NOTHING = {"eeg": [], "eog": [], "emg": [], "resp": []}


def write(path, *labels: str):
    """A channel for each label, of 40 s, each with a noise of its own."""
    return write_edf_c(
        path, [Wave(label, 100, eeg_like(40, 100, at)) for at, label in enumerate(labels)]
    )


def stored(at: int) -> np.ndarray:
    return eeg_like(40, 100, at)


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.corrcoef(one, two)[0, 1])


@pytest.mark.parametrize(
    "labels, name",
    [
        (("C4-M1", "C4-A1", "C4:M1", "EEG C4-A1", "eeg c4 - m1", "C4M1", "C4A1", "C4/A1"), "c4-m1"),
        (("Fpz-Cz", "FPZ-CZ", "EEG Fpz-Cz", "FpzCz"), "fpz-cz"),
        (("E1-M2", "EOG LOC-A2", "LOC-M2", "EOG E1:A2"), "e1-m2"),
        (("EOG LOC", "LOC", "E1"), "e1"),
        (("EMG Chin1-Chin2", "Chin1-Chin2", "chin1:chin2"), "chin1-chin2"),
        (("EMG submental", "Submental"), "submental"),
        (("Resp Thorax", "thorax", "Effort THORAX"), "thorax"),
    ],
)
def test_names_that_mean_the_same(labels, name):
    assert {canonical(label) for label in labels} == {name}


@pytest.mark.parametrize(
    "label, kind",
    [
        *[(label, "eeg") for label in ("EEG C4-A1", "C3:M2", "EEG Fpz-Cz", "F4M1", "EEG C4-Ref")],
        *[(label, "eog") for label in ("EOG horizontal", "E2-M2", "ROC", "EEG LOC-A2", "EOG Left")],
        *[(label, "emg") for label in ("EMG chin", "EMG submental", "Chin 1-Chin 2", "EMG")],
        *[
            (label, "resp")
            for label in ("Resp oro-nasal", "RIP Thorax", "THO", "Abdomen", "Belt 1")
        ],
    ],
)
def test_a_kind_is_found_by_its_usual_names(tmp_path, label, kind):
    path = write(tmp_path / "n.edf", "SpO2", label, "EMG Tib/L", "Resp Rate", "ECG II")
    found = read_recording(path, None if kind == "eeg" else {"eeg": []})
    assert {each: one.channels for each, one in found.signals.items()} == {kind: (label,)}
    assert correlation(found.signals["eeg"].values[0], stored(1)) > 0.9 if kind == "eeg" else True


def test_the_preferred_of_several_is_read_and_said(tmp_path):
    path = write(tmp_path / "n.edf", "EEG O2-A1", "EEG F4-A1", "EEG C3-A2")
    with pytest.warns(UserWarning, match=r"3 channels for eeg: .*; 'EEG C3-A2' is read. To read"):
        found = read_recording(path)
    assert correlation(found.signals["eeg"].values[0], stored(2)) > 0.9


def test_channels_by_name(tmp_path):
    path = write(tmp_path / "n.edf", "EEG O2-A1", "EEG F4-A1", "EMG chin")
    found = read_recording(path, {"eeg": ["F4-M1", "EEG O2-A1"], "emg": []})
    assert list(found.signals) == ["eeg"]
    assert found.signals["eeg"].channels == ("EEG F4-A1", "EEG O2-A1")
    for row, at in ((0, 1), (1, 0)):
        assert correlation(found.signals["eeg"].values[row], stored(at)) > 0.9


def test_electrodes_recorded_apart_are_subtracted(tmp_path):
    path = write(tmp_path / "n.edf", "C4", "F4", "M1-Ref", "M2")
    for channels in (None, {"eeg": ["C4-M1"]}):
        signal = read_recording(path, channels).signals["eeg"]
        assert signal.channels == ("C4-M1-Ref",) if channels is None else ("C4-M1",)
        assert correlation(signal.values[0], stored(0) - stored(2)) > 0.95


def test_a_reference_of_two_electrodes(tmp_path):
    path = write(tmp_path / "n.edf", "C4", "A1", "A2")
    signal = read_recording(path, {"eeg": ["C4"]}, reference=("M1", "M2")).signals["eeg"]
    assert signal.channels == ("C4-A1+A2",)
    assert correlation(signal.values[0], stored(0) - (stored(1) + stored(2)) / 2) > 0.95
    with pytest.raises(ValueError, match=r"no electrode 'Cz' to refer to; it has 'C4', 'A1', 'A2'"):
        read_recording(path, {"eeg": ["C4"]}, reference="Cz")


def test_a_difference_has_its_reference_already(tmp_path):
    path = write(tmp_path / "n.edf", "C4-M2", "M1")
    with pytest.raises(ValueError, match=r"'C4-M2' is a difference of two electrodes already"):
        read_recording(path, {"eeg": ["C4-M2"]}, reference="M1")


def test_electrodes_of_two_rates_are_not_subtracted(tmp_path):
    waves = [Wave("C4", 100, eeg_like(40, 100)), Wave("M1", 200, eeg_like(40, 200))]
    with pytest.raises(ValueError, match=r"cannot be made, since 'C4' has 100 Hz .* 'M1' 200 Hz"):
        read_recording(write_edf_c(tmp_path / "n.edf", waves), {"eeg": ["C4-M1"]})


def test_a_missing_channel_names_what_there_is(tmp_path):
    path = write(tmp_path / "n.edf", "EEG C3-A2", "EMG chin")
    with pytest.raises(ValueError) as caught:
        read_recording(path, {"eeg": ["C4-M1"]})
    text = str(caught.value)
    assert "no channel 'C4-M1' for eeg" in text and "'EEG C3-A2', 'EMG chin'" in text
    assert "did you mean 'c3-m2'?" in text
    with pytest.raises(ValueError, match=r"kinds \['ECG'\], expected some of eeg, eog, emg, resp"):
        read_recording(path, {"ECG": ["x"]})
    with pytest.raises(ValueError, match=r"is a list of names, got 'C3-M2'"):
        read_recording(path, {"eeg": "C3-M2"})


def test_a_file_without_eeg_of_a_usual_name_says_so(tmp_path):
    path = write_edf_c(
        tmp_path / "a.edf",
        [Wave(name, 128, eeg_like(60, 128)) for name in ("Kanal 1", "EOG E1-M2")],
    )
    with pytest.warns(UserWarning, match="no channel of a usual name for eeg.*'Kanal 1'"):
        assert set(read_recording(path).signals) == {"eog"}
    assert set(read_recording(path, {"eeg": []}).signals) == {"eog"}


def test_a_file_without_usual_names(tmp_path):
    path = write(tmp_path / "n.edf", "Kanal 1", "Kanal 2")
    with pytest.raises(ValueError, match=r"none of the usual channels .* 'Kanal 1', 'Kanal 2'; na"):
        read_recording(path)
    found = read_recording(path, {"eeg": ["Kanal 2"]})
    assert correlation(found.signals["eeg"].values[0], stored(1)) > 0.9


def test_two_channels_of_one_name(tmp_path):
    """mne calls them C4-M1-0 and C4-M1-1: the first is read, and said to be."""
    path = write(tmp_path / "n.edf", "C4-M1", "Chin", "C4-M1")
    with pytest.warns(UserWarning) as caught:
        found = read_recording(path, {**NOTHING, "eeg": ["C4-M1"]})
    assert any("2 channels for eeg named 'C4-M1'" in str(one.message) for one in caught)
    assert correlation(found.signals["eeg"].values[0], stored(0)) > 0.9


def test_types_of_a_fif_file_count(tmp_path):
    values = np.stack([stored(at) for at in range(3)]) * 1e-6
    raw = raw_of(values, ["X1", "X2", "C4"], ["eog", "emg", "eeg"], 100)
    raw.save(tmp_path / "n_raw.fif", verbose="error")
    found = read_recording(tmp_path / "n_raw.fif")
    assert {kind: one.channels for kind, one in found.signals.items()} == {
        "eeg": ("C4",),
        "eog": ("X1",),
        "emg": ("X2",),
    }
