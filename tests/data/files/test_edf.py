"""EDF files of our own: mne reads what was written, and the header says it too."""

import warnings
from datetime import UTC, datetime

import mne
import numpy as np
import pytest

from tests.data.files.edf_plus import write_edf_plus
from xdistill.data.files.edf import (
    EdfSignal,
    Waveform,
    check_scale,
    find_signal,
    read_edf_header,
    write_edf,
    write_edf_annotations,
)
from xdistill.data.files.edf_times import first_sample, record_starts
from xdistill.data.files.mne_warnings import said_by_mne

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
    assert header.signals == (
        EdfSignal("fast", "uV", 10.0, (-100, 100), (-2047, 2047)),
        EdfSignal("slow", "", 1.0, (-5, 5), (-2047, 2047)),
    )


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


def patched(path, at: int, text: str, width: int = 8):
    """Overwrites a field of a header."""
    content = bytearray(path.read_bytes())
    content[at : at + width] = text.ljust(width).encode("latin-1")
    path.write_bytes(bytes(content))
    return path


def field(signal: int, offset: int, width: int = 8, signals: int = 2) -> int:
    return 256 + offset * signals + width * signal


def test_a_file_that_was_not_closed_is_read_by_its_size(written):
    path = patched(written[0], 236, "-1")
    path.write_bytes(path.read_bytes() + b"\0" * 7)
    with pytest.warns(UserWarning, match=r"two.edf was not closed: .* it has 2, and 7 bytes that"):
        assert read_edf_header(path).records == 2
    path.write_bytes(path.read_bytes()[: 256 * 3 + 100])
    with pytest.raises(ValueError, match="its header announces -1 records"):
        read_edf_header(path)


def test_bytes_after_the_last_record_are_counted(written):
    path = written[0]
    path.write_bytes(path.read_bytes() + b"\0" * 9)
    with pytest.warns(UserWarning, match="two.edf has 9 bytes more than the 2 records"):
        assert read_edf_header(path).records == 2


@pytest.mark.parametrize(
    ("at", "text", "message"),
    [
        (184, "512", "2 signals, but 512 bytes of header"),
        (252, "0", "0 signals"),
        (244, "nan", "records of nan s"),
        (244, "-30", "records of -30.0 s"),
        (field(0, 216), "0", "with \\[0, 30\\] samples"),
        (field(1, 104), "none", "could not convert string to float: 'none'"),
    ],
)
def test_headers_that_contradict_themselves(written, at, text, message):
    path = patched(written[0], at, text, 4 if at == 252 else 8)
    with pytest.raises(ValueError, match=f"two.edf has no EDF header .*{message}"):
        read_edf_header(path)


@pytest.mark.parametrize(("offset", "value"), [(104, "100"), (120, "2047"), (120, "2048")])
def test_a_scale_that_is_none_is_refused(written, offset, value):
    """Physical minimum = maximum, and digital minimum at or above the maximum."""
    header = read_edf_header(patched(written[0], field(0, offset), value))
    with pytest.raises(ValueError, match=r"'fast' from .* to 100 uV for .* not known; export"):
        check_scale(written[0], header.signals[0])
    check_scale(written[0], header.signals[1])


def test_an_inverted_signal_is_read_as_mne_reads_it(written):
    path = patched(patched(written[0], field(0, 104), "100"), field(0, 112), "-100")
    check_scale(path, read_edf_header(path).signals[0])


@pytest.mark.parametrize("unit", ["uV", "\u00b5V", "\x83\xcaV"])
def test_every_way_to_write_micro(written, unit):
    assert read_edf_header(patched(written[0], field(0, 96), unit)).signals[0].unit == "uV"


def test_signals_are_found_in_any_case(written):
    path = patched(patched(written[0], 256, "EEG FPZ-CZ", 16), 272, "Fpz-A1", 16)
    header = read_edf_header(path)
    assert find_signal(path, header, "EEG Fpz-Cz") == header.signals[0]
    assert find_signal(path, header, "EEG FPz-a1") == header.signals[1]
    assert find_signal(path, header, "EEG Pz-Oz") is None and find_signal(path, header, "x") is None
    header = read_edf_header(patched(path, 272, "eeg fpz-cz", 16))
    assert find_signal(path, header, "EEG FPZ-CZ") == header.signals[0]  # as it is written
    with pytest.raises(ValueError, match=r"has 2 signals named 'Fpz-Cz' \(EEG FPZ-CZ, eeg fpz-cz"):
        find_signal(path, header, "Fpz-Cz")


def test_gaps_in_time_are_known(tmp_path):
    """Ten records of 1 s, with three minutes after the fourth."""
    path = tmp_path / "gap.edf"
    onsets = [*range(4), *range(184, 190)]
    write_edf_plus(path, {"EEG": np.arange(100.0)}, 10, onsets=onsets, start=START)
    header = read_edf_header(path)
    starts = record_starts(path, header)
    assert header.kind == "EDF+D" and starts.tolist() == onsets
    found = [first_sample(starts, 1.0, 10, at, 2.0) for at in (0, 2, 3, 100, 183, 184, 188, 189)]
    assert found == [0, 20, None, None, None, 40, 80, None]
    assert first_sample(starts, 1.0, 10, -1.0, 1.0) is None


def test_times_that_contradict_the_kind_are_refused(tmp_path):
    path = tmp_path / "x.edf"
    wave = {"EEG": np.arange(40.0)}
    for kind, onsets, message in (
        ("EDF+D", [0, 1, 1.5, 9], "x.edf has records of 1 s that overlap or go back in time"),
        (
            "EDF+C",
            [0, 1, 5, 6],
            r"says that it is continuous \(EDF\+C\), but its records have gaps",
        ),
    ):
        write_edf_plus(path, wave, 10, onsets=onsets, start=START, kind=kind)
        with pytest.raises(ValueError, match=message):
            record_starts(path, read_edf_header(path))
    write_edf_plus(path, wave, 10, onsets=[0.5, 1.5, 2.5, 3.5], start=START, kind="EDF+C")
    assert record_starts(path, read_edf_header(path)).tolist() == [0.5, 1.5, 2.5, 3.5]
    patched(write_edf_plus(path, wave, 10, onsets=[0] * 4, start=START), 256 + 16, "Status", 16)
    with pytest.raises(ValueError, match="does not say when each of its 4 records begins"):
        record_starts(path, read_edf_header(path))


def test_what_mne_warns_of_is_said_with_the_file(tmp_path):
    said = pytest.warns(UserWarning, match="x.edf: mne warns: no such thing")
    with said as caught, said_by_mne(tmp_path / "x.edf"):
        warnings.warn("no such thing", RuntimeWarning, stacklevel=1)
        warnings.warn("no such thing", RuntimeWarning, stacklevel=1)
        warnings.warn("Channels contain different highpass filters.", stacklevel=1)
    assert len(caught) == 1
