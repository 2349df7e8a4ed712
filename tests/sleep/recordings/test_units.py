"""Microvolts by their size: files in V or mV, or without a unit, are found or refused."""

import numpy as np
import pytest

from tests.sleep.recordings.files import Wave, eeg_like, raw_of, write_brainvision, write_edf_c
from xdistill.sleep.recordings import read_recording

ONE = {"eeg": ["C4-M1"], "eog": [], "emg": [], "resp": []}
TRUE = eeg_like(60, 128)


def size(found) -> float:
    """Standard deviation of the EEG; it is 25 in µV."""
    return float(found.signals["eeg"].values[0].std())


def write(path, unit: str, factor: float, limit: float = 1000.0):
    """The true EEG times a factor, in a file that states a unit."""
    return write_edf_c(path, [Wave("C4-M1", 128, TRUE * factor, unit, limit * factor)])


def stated(path, old: bytes, new: bytes):
    """The file with another unit in its header, whose field has 8 bytes."""
    assert len(new) == len(old) == 8
    content = path.read_bytes()
    assert content.count(old, 256, 2000) == 1
    path.write_bytes(content.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    "unit, factor", [("uV", 1.0), ("mV", 1e-3), ("V", 1e-6), ("nV", 1e3), ("UV", 1.0)]
)
def test_units_that_are_right(tmp_path, unit, factor):
    found = read_recording(write(tmp_path / "n.edf", unit, factor), ONE)
    assert found.warnings == () and size(found) == pytest.approx(25, rel=0.05)


@pytest.mark.parametrize("micro", [b"\xb5V", b"\xc2\xb5V", b"\xce\xbcV", b"\x83\xcaV"])
def test_micro_in_every_encoding(tmp_path, micro):
    """Latin-1, UTF-8 with the sign and with the Greek letter, and Shift JIS."""
    path = stated(write(tmp_path / "n.edf", "uV", 1.0), b"uV      ", micro.ljust(8))
    found = read_recording(path, ONE)
    assert found.warnings == () and size(found) == pytest.approx(25, rel=0.05)


@pytest.mark.parametrize("factor, name", [(1.0, "uV"), (1e-3, "mV"), (1e-6, "V")])
def test_without_a_unit_the_size_tells(tmp_path, factor, name):
    path = write(tmp_path / "n.edf", "", factor)
    with pytest.warns(UserWarning, match=rf"'C4-M1' states no unit; .* so that {name} are taken"):
        found = read_recording(path, ONE)
    assert size(found) == pytest.approx(25, rel=0.05) and len(found.warnings) == 1


@pytest.mark.parametrize(
    "unit, factor, name",
    [("uV", 1e-3, "mV"), ("uV", 1e-6, "V"), ("mV", 1.0, "uV"), ("V", 1.0, "uV"), ("V", 1e-3, "mV")],
)
def test_a_wrong_unit_is_found(tmp_path, unit, factor, name):
    path = write(tmp_path / "n.edf", unit, factor)
    with pytest.warns(UserWarning, match=rf"in {unit}, as its file says, .*: {name} are taken"):
        found = read_recording(path, ONE)
    assert size(found) == pytest.approx(25, rel=0.05)


def test_a_fif_file_with_microvolts_where_volts_belong(tmp_path):
    raw_of(TRUE[None], ["C4-M1"], ["eeg"], 128).save(tmp_path / "n_raw.fif", verbose="error")
    with pytest.warns(UserWarning, match=r"in V, as its file says, .*: uV are taken"):
        assert size(read_recording(tmp_path / "n_raw.fif", ONE)) == pytest.approx(25, rel=0.05)


def test_brainvision_in_another_unit(tmp_path):
    wave = Wave("C4-M1", 128, TRUE * 1e-3)
    right = write_brainvision(tmp_path / "a.vhdr", [wave], [(1, "")], unit="mV")
    assert size(read_recording(right, ONE)) == pytest.approx(25, rel=0.05)
    wrong = write_brainvision(tmp_path / "b.vhdr", [wave], [(1, "")], unit="µV")
    with pytest.raises(ValueError, match="say with unit= what it is in"):
        read_recording(wrong, ONE)


def test_an_electrode_that_is_off_is_no_other_unit(tmp_path):
    """The amplifier's noise, of 0.1 µV, in a file with the range of an amplifier."""
    path = write_edf_c(tmp_path / "n.edf", [Wave("C4-M1", 128, TRUE / 250, "uV", 500.0)])
    with pytest.warns(UserWarning) as caught:
        found = read_recording(path, ONE)
    said = " ".join(str(one.message) for one in caught)
    assert "its electrode is off, or its gain is wrong" in said
    assert "flat for 1 of 1 minutes" in said
    assert size(found) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    "unit, factor, why",
    [
        ("mmHg", 1.0, r"is in 'mmHg', expected a voltage \(uV, mV, V\)"),
        ("", 9e3, r"states no unit, and typically varies by 1.*e\+05"),
        ("uV", 9e3, r"varies by 1.*e\+05 µV if it is in uV, .* 1 to 300 µV are usual"),
    ],
)
def test_what_is_no_eeg_is_refused(tmp_path, unit, factor, why):
    path = tmp_path / "n.edf"
    write_edf_c(path, [Wave("C4-M1", 128, TRUE * factor, unit, 1000 * factor)])
    with pytest.raises(ValueError, match=why):
        read_recording(path, ONE)


def test_the_user_knows_better(tmp_path):
    path = write(tmp_path / "n.edf", "mmHg", 1e-3)
    assert size(read_recording(path, ONE, unit="mV")) == pytest.approx(25, rel=0.05)
    with pytest.raises(ValueError, match="unit is one of uV, mV, V"):
        read_recording(path, ONE, unit="kV")


def test_numbers_that_are_none_are_refused(tmp_path):
    values = TRUE[None] * 1e-6
    values[0, 5:9] = np.nan
    raw_of(values, ["C4-M1"], ["eeg"], 128).save(tmp_path / "n_raw.fif", verbose="error")
    with pytest.raises(ValueError, match="'C4-M1' has 4 samples that are no numbers"):
        read_recording(tmp_path / "n_raw.fif", ONE)
