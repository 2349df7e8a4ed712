"""EDF files of our own: mne reads what was written, and the header says it too."""

from datetime import UTC, datetime

import mne
import numpy as np
import pytest

from xdistill.data.files.edf import (
    EdfSignal,
    Waveform,
    read_edf_header,
    write_edf,
    write_edf_annotations,
)

START = datetime(1991, 9, 3, 22, 5, 9)


@pytest.fixture
def written(tmp_path):
    rng = np.random.default_rng(0)
    fast, slow = rng.uniform(-90, 90, 700), rng.uniform(-4, 4, 70)
    path = tmp_path / "two.edf"
    waves = [Waveform("fast", "uV", 10, 100.0, fast), Waveform("slow", "", 1, 5.0, slow)]
    write_edf(path, waves, start=START)
    return path, fast[:600], slow[:60]  # two whole records


def test_the_header(written):
    header = read_edf_header(written[0])
    assert header.start == "03.09.9122.05.09" and header.seconds == 60
    assert header.signals == (EdfSignal("fast", "uV", 10.0), EdfSignal("slow", "", 1.0))


def test_mne_reads_the_same(written):
    path, fast, slow = written
    for name, signal, unit, limit in (("fast", fast, 1e-6, 100), ("slow", slow, 1, 5)):
        raw = mne.io.read_raw_edf(path, include=[name], preload=False, verbose="error")
        assert raw.info["meas_date"] == START.replace(tzinfo=UTC)
        assert raw.info["sfreq"] == len(signal) / 60
        assert abs(raw.get_data()[0] / unit - signal).max() <= 0.51 * limit / 2047


def test_values_beyond_the_limits_are_clipped(tmp_path):
    wave = Waveform("x", "uV", 1, 5.0, np.array([9.0, -9.0] * 15))
    write_edf(tmp_path / "x.edf", [wave], start=START)
    raw = mne.io.read_raw_edf(tmp_path / "x.edf", verbose="error")
    assert np.allclose(raw.get_data()[0] * 1e6, [5, -5] * 15)


@pytest.mark.parametrize("length_s", [30.0, 300.0])  # an odd and an even number of bytes
def test_annotations(tmp_path, length_s):
    path = tmp_path / "words.edf"
    write_edf_annotations(path, [(0.0, length_s, "one"), (length_s, 1.5, "two")], start=START)
    found = mne.read_annotations(path)
    assert list(found.description) == ["one", "two"]
    assert list(found.onset) == [0, length_s] and list(found.duration) == [length_s, 1.5]
    assert read_edf_header(path).signals[0].label == "EDF Annotations"


def test_damaged_files_are_named(written):
    path = written[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"two.edf has 2,087 bytes, .* 2 records and so 2,088"):
        read_edf_header(path)
    for damaged in (b"", whole[:300], b"no EDF at all" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="two.edf has no EDF header"):
            read_edf_header(path)
