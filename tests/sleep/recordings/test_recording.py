"""Recordings in true formats: the same µV at the right time, or a refusal that says why."""

import subprocess
import sys
from datetime import UTC, timedelta

import mne
import numpy as np
import pytest

from tests.data.files.edf_plus import write_edf_plus
from tests.sleep.recordings.files import (
    START,
    Wave,
    eeg_like,
    raw_of,
    sines,
    write_brainvision,
    write_edf_c,
)
from xdistill.sleep.recordings import read_recording

ONE = {"eeg": ["C4-M1"], "eog": [], "emg": [], "resp": []}


def expected(seconds: float, hz=(2.0, 10.0)) -> np.ndarray:
    return sines(seconds, 100, hz)


def inner(values: np.ndarray, rate_hz: int = 100) -> np.ndarray:
    """Without the 5 s at both ends, where a filter swings in."""
    return values[5 * rate_hz : -5 * rate_hz]


def test_a_night_with_all_kinds_of_signals(tmp_path):
    waves = [
        Wave("EEG C4-A1", 256, sines(60, 256)),
        Wave("EOG LOC-A2", 128, sines(60, 128, (1.0,))),
        Wave("EMG Chin1-Chin2", 512, sines(60, 512, (20.0,))),
        Wave("Resp thorax", 32, np.sin(2 * np.pi * 0.25 * np.arange(60 * 32) / 32), "", 2.0),
        Wave("EMG Leg/L", 256, sines(60, 256)),
        Wave("SpO2", 1, np.full(60, 97.0), "%", 100.0),
    ]
    found = read_recording(write_edf_c(tmp_path / "Nacht-ä.edf", waves))
    assert found.start == START and found.duration_s == 60 and found.gaps == ()
    assert found.warnings == ()
    assert {kind: one.channels for kind, one in found.signals.items()} == {
        "eeg": ("EEG C4-A1",),
        "eog": ("EOG LOC-A2",),
        "emg": ("EMG Chin1-Chin2",),
        "resp": ("Resp thorax",),
    }
    for kind, hz in (("eeg", (2.0, 10.0)), ("eog", (1.0,)), ("emg", (20.0,))):
        signal = found.signals[kind]
        assert signal.rate_hz == 100 and signal.values.dtype == np.float32
        assert signal.values.shape == (1, 6000)
        assert abs(inner(signal.values[0] - expected(60, hz))).max() < 0.6, kind
    belt = found.signals["resp"]
    time = np.arange(1500) / 25
    assert belt.rate_hz == 25 and belt.values.shape == (1, 1500)
    assert abs(belt.values[0] - np.sin(2 * np.pi * 0.25 * time))[250:-250].max() < 0.02


@pytest.mark.parametrize("suffix", [".edf", ".bdf", ".fif", ".vhdr"])
def test_every_format_gives_the_same(tmp_path, suffix):
    values, belt = sines(40, 200), sines(40, 200, (3.0,))
    path = tmp_path / f"night_raw{suffix}"
    waves = [Wave("C4-M1", 200, values), Wave("Thorax", 200, belt)]
    if suffix == ".fif":
        raw = raw_of(np.stack([values, belt]) * 1e-6, ["C4-M1", "Thorax"], ["eeg", "resp"], 200)
        raw.set_meas_date(START.replace(tzinfo=UTC))
        raw.save(path, verbose="error")
        with pytest.warns(UserWarning, match="state UTC, but it is taken as the local time"):
            found = read_recording(path)
    elif suffix == ".vhdr":
        write_brainvision(path, waves, [(1, f"{START:%Y%m%d%H%M%S}000000")])
        found = read_recording(path)
    else:
        found = read_recording(write_edf_c(path, waves))
    assert found.start == START and found.duration_s == 40
    assert abs(inner(found.signals["eeg"].values[0] - expected(40))).max() < 0.6
    assert found.signals["resp"].channels == ("Thorax",)


@pytest.mark.parametrize(
    "suffix, why",
    [(".edf", "announces 40 records"), (".bdf", "announces 40 records"), (".vhdr", "missing")],
)
def test_a_cut_or_lacking_file_is_refused_with_the_true_reason(tmp_path, suffix, why):
    path = tmp_path / f"night{suffix}"
    waves = [Wave("C4-M1", 200, sines(40, 200))]
    if suffix == ".vhdr":
        write_brainvision(path, waves, [(1, "")])
        path.with_suffix(".eeg").unlink()
    else:
        write_edf_c(path, waves)
        path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match=why) as caught:
        read_recording(path, ONE)
    assert str(path) in str(caught.value)


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "night.mat").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"one of the suffixes .edf, .bdf, .fif, .vhdr"):
        read_recording(tmp_path / "night.mat")
    with pytest.raises(FileNotFoundError, match="is missing, expected a recording"):
        read_recording(tmp_path / "night.edf")
    (tmp_path / "night.edf").write_bytes(b"no header")
    with pytest.raises(ValueError, match="has no EDF header"):
        read_recording(tmp_path / "night.edf")
    path = write_edf_c(tmp_path / "night.bdf", [Wave("C4-M1", 100, sines(40, 100))])
    with pytest.raises(ValueError, match=r"of the kind .bdf, by its header; rename it"):
        read_recording(path.rename(tmp_path / "other.edf"))


def test_what_mne_warns_of_is_said_with_the_file(tmp_path):
    path = write_edf_c(tmp_path / "n.edf", [Wave("C4-M1", 100, sines(40, 100))])
    content = bytearray(path.read_bytes())
    content[88:168] = b"Startdate X X X X".ljust(80)
    content[168:176] = b"99.99.99"
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"n\.edf: mne warns: Invalid measurement date"):
        found = read_recording(path)
    assert found.start is None
    assert len(found.warnings) == 1 and "Invalid measurement date" in found.warnings[0]


class TestRates:
    @pytest.mark.parametrize("rate_hz", [100, 128, 200, 256, 500, 512, 1000])
    def test_in_hertz(self, tmp_path, rate_hz):
        path = write_edf_c(tmp_path / "n.edf", [Wave("C4-M1", rate_hz, sines(40, rate_hz))])
        values = read_recording(path, ONE).signals["eeg"].values[0]
        assert values.shape == (4000,)
        assert abs(inner(values - expected(40))).max() < 0.6

    def test_49_9_hz_ends_the_band_below_its_half(self, tmp_path):
        wave = Wave("C4-M1", 49.9, sines(100, 49.9))
        path = write_edf_c(tmp_path / "n.edf", [wave], record_s=10)
        with pytest.warns(UserWarning, match=r"49.9 samples a second, .* ends at 22.5 Hz"):
            values = read_recording(path, ONE).signals["eeg"].values[0]
        assert values.shape == (10000,)
        assert abs(inner(values - expected(100))).max() < 0.6

    def test_too_low_a_rate(self, tmp_path):
        waves = [
            Wave("C4-M1", 100, sines(40, 100)),
            Wave("EMG submental", 1, np.arange(40.0)),
        ]
        path = write_edf_c(tmp_path / "n.edf", waves)
        with pytest.warns(UserWarning, match=r"'EMG submental' at 1 samples a second, too few"):
            assert list(read_recording(path).signals) == ["eeg"]
        with pytest.raises(ValueError, match=r"expected at least 45 for frequencies from 10 Hz"):
            read_recording(path, {"emg": ["EMG submental"]})


class TestGaps:
    ONSETS = (*range(0, 95), *range(130, 200))

    def write(self, path, first=1.0, kind="EDF+D"):
        """Records of a second at 200 Hz; nothing from 95 to 130 s. EEG and 9 times as much."""
        at = (np.array(self.ONSETS)[:, None] + np.arange(200) / 200).ravel()
        values = np.round(30 * np.sin(2 * np.pi * 10 * at))
        values[: 95 * 200] *= first
        return write_edf_plus(
            path, {"C4-M1": values}, 200, onsets=self.ONSETS, start=START, kind=kind
        )

    def test_nothing_is_shifted(self, tmp_path):
        found = read_recording(self.write(tmp_path / "n.edf"), ONE)
        assert found.duration_s == 200 and found.gaps == ((95.0, 130.0),)
        values = found.signals["eeg"].values[0]
        wanted = 30 * np.sin(2 * np.pi * 10 * np.arange(20000) / 100)
        wanted[9500:13000] = 0
        assert (values[9500:13000] == 0).all()
        assert abs(values - wanted)[500:9000].max() < 0.6
        assert abs(values - wanted)[13500:19500].max() < 0.6

    def test_the_filter_stops_at_the_gap(self, tmp_path):
        plain = read_recording(self.write(tmp_path / "a.edf"), ONE)
        large = read_recording(self.write(tmp_path / "b.edf", first=9.0), ONE)
        one, two = (each.signals["eeg"].values[0] for each in (plain, large))
        assert np.array_equal(one[13000:], two[13000:])
        assert not np.allclose(one[:9500], two[:9500])

    def test_a_start_between_two_seconds(self, tmp_path):
        values = np.round(sines(40, 200))
        path = write_edf_plus(
            tmp_path / "n.edf",
            {"C4-M1": values},
            200,
            onsets=[0.25 + at for at in range(40)],
            start=START,
            kind="EDF+C",
        )
        found = read_recording(path, ONE)
        assert found.start == START + timedelta(seconds=0.25)
        assert abs(inner(found.signals["eeg"].values[0] - expected(40))).max() < 0.9

    def test_bdf_with_a_gap(self, tmp_path):
        """edfio's file, with the time of its later records and its kind changed."""
        path = write_edf_c(tmp_path / "n.bdf", [Wave("C4-M1", 200, sines(40, 200))])
        content = path.read_bytes().replace(b"BDF+C", b"BDF+D")
        for at in range(20, 40):
            content = content.replace(b"+%d\x14\x14" % at, b"+%d\x14\x14" % (at + 30))
        path.write_bytes(content)
        found = read_recording(path, ONE)
        assert found.gaps == ((20.0, 50.0),) and found.duration_s == 70
        values = found.signals["eeg"].values[0]
        assert abs(values[5500:6500] - expected(40)[2500:3500]).max() < 0.6

    def test_fif_that_skipped(self, tmp_path):
        raw = raw_of(sines(60, 200)[None] * 1e-6, ["C4-M1"], ["eeg"], 200)
        raw.set_annotations(mne.Annotations([20.0], [10.0], ["BAD_ACQ_SKIP"]))
        raw.save(tmp_path / "n_raw.fif", verbose="error")
        found = read_recording(tmp_path / "n_raw.fif", ONE)
        assert found.gaps == ((20.0, 30.0),) and found.duration_s == 60
        values = found.signals["eeg"].values[0]
        assert (values[2000:3000] == 0).all()
        assert abs(values - expected(60))[3500:5500].max() < 0.6

    def test_brainvision_that_was_paused(self, tmp_path):
        stamps = [(1, "20260131230507000000"), (4001, "20260131230607500000")]
        wave = Wave("C4-M1", 200, sines(60, 200))
        found = read_recording(write_brainvision(tmp_path / "n.vhdr", [wave], stamps), ONE)
        assert found.gaps == ((20.0, 60.5),) and found.duration_s == 100.5
        values = found.signals["eeg"].values[0]
        assert abs(values[6550:9550] - expected(60)[2500:5500]).max() < 0.6
        stamps[1] = (4001, "")
        path = write_brainvision(tmp_path / "m.vhdr", [wave], stamps)
        with pytest.raises(ValueError, match=r"paused 1 times, but m.vmrk does not say when"):
            read_recording(path, ONE)


class TestClipping:
    def test_seconds_at_the_limit(self, tmp_path):
        values = eeg_like(60, 256)
        values[256 * 20 : 256 * 24] = np.clip(40 * values[256 * 20 : 256 * 24], -300, 300)
        path = write_edf_c(tmp_path / "n.edf", [Wave("C4-M1", 256, values)])
        clipped = read_recording(path, ONE).signals["eeg"].clipped
        assert clipped and all(20 <= start < end <= 24 for start, end in clipped)

    def test_peaks_are_not_clipped(self, tmp_path):
        """Slow waves on a coarse converter stay at their top for some samples."""
        values = np.round((75 * sines(60, 256, (0.7,)) / 30 + eeg_like(60, 256)) / 4) * 4
        path = write_edf_c(tmp_path / "n.edf", [Wave("C4-M1", 256, values)])
        assert read_recording(path, ONE).signals["eeg"].clipped == ()


def test_importing_loads_no_reader():
    script = (
        "import sys, xdistill.sleep.recordings, xdistill.sleep.hypnograms; "
        "sys.exit(str({'mne', 'yasa', 'edfio', 'pandas', 'scipy.signal'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "set()"
