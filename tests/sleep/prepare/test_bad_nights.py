"""What a laboratory's files have wrong: a message, a mark or a warning, and the other nights stay.

Each goes through the whole command.
"""

import resource
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tests.data.files.edf_plus import write_edf_plus
from tests.sleep.prepare.small_nights import EPOCHS, row_of, tree
from xdistill.data.adapters.nights import read_night, read_prepared
from xdistill.extras import import_extra
from xdistill.sleep.marks import Mark
from xdistill.sleep.prepare.folder import stops_all

START = datetime(2024, 3, 9, 22, 47, 12)


def write_recording(
    path: Path, *, rate_hz: float = 128, unit: str = "uV", scale: float = 1.0, seconds: int = 120
) -> Path:
    """Two minutes of slow waves of 50 µV at C4-M1, in any unit."""
    edfio = import_extra("edfio", "sleep")
    count = int(seconds * rate_hz)
    waves = 50 * np.sin(2 * np.pi * 2 * np.arange(count) / rate_hz)
    signal = edfio.EdfSignal(
        waves * scale,
        rate_hz,
        label="EEG C4-M1",
        physical_dimension=unit,
        physical_range=(-500 * scale, 500 * scale),
    )
    record_s = 10 if rate_hz % 1 else 1
    edfio.Edf(
        [signal],
        recording=edfio.Recording(startdate=START.date()),
        starttime=START.time(),
        data_record_duration=record_s,
    ).write(path)
    return path


def marks_with(night, mark: Mark) -> list[int]:
    return [epoch for epoch, marks in enumerate(night.marks) if mark in marks]


def test_one_broken_night_of_three(three, prepared, tmp_path, prepare):
    """The others are prepared, the status is 1, and a mended night alone is prepared later."""
    raw = Path(shutil.copytree(three.parent, tmp_path / "raw"))
    film = raw / "n1.mkv"
    whole = film.read_bytes()
    film.write_bytes(b"not a film" * 1000)
    rows = [
        {
            "subject": f"p{at}",
            "eeg": raw / f"n{at}.edf",
            "video": raw / f"n{at}.{'mkv' if at == 1 else 'mp4'}",
            "hypnogram": raw / f"n{at}_hypnogram.edf",
        }
        for at in range(3)
    ]
    status, text = prepare(rows)
    assert status == 1 and f"p1-1: failed: {film} cannot be read as a film" in text
    out = tmp_path / "out"
    assert read_prepared(out).done == ("p0-1", "p2-1")
    assert "cannot be read" in str(read_prepared(out).nights["p1-1"].error)
    kept = tree(prepared / "nights" / "p2-1")
    assert {**tree(out / "nights" / "p2-1"), "night.json": 0} == {**kept, "night.json": 0}
    film.write_bytes(whole)
    status, text = prepare(rows)
    assert status == 0 and "3 nights: 2 done, 1 to do" in text
    assert tree(out)["epochs.csv"] == tree(prepared)["epochs.csv"]


def test_black_coloured_missing_and_flat_stretches(simulate, prepare, tmp_path):
    files = simulate(
        dark_s=(0.0, 30.0), colour_s=(60.0, 90.0), gap_s=(95.0, 105.0), flat_s=(125.0, 140.0)
    )
    status, text = prepare([row_of("p", files)])
    night = read_night(tmp_path / "out", "p-1")
    assert status == 0
    assert marks_with(night, Mark.DARK) == [0] and marks_with(night, Mark.COLOUR) == [2]
    assert marks_with(night, Mark.VIDEO_GAP) == [3] and marks_with(night, Mark.EEG_FLAT) == [4]
    assert night.facts["counts"]["marks"]["dark"] == 1 and "dark 1" in text
    assert "dark" in (tmp_path / "out" / "epochs.csv").read_text()


def test_a_film_that_is_shorter_and_one_that_is_longer(simulate, prepare, tmp_path):
    status, text = prepare(
        [
            row_of("short", simulate("a", film_s=80.0)),
            row_of("long", simulate("b", film_late_s=-60.0, film_s=300.0)),
        ]
    )
    short, long = (read_night(tmp_path / "out", f"{name}-1") for name in ("short", "long"))
    assert status == 0
    assert marks_with(short, Mark.NO_VIDEO) == [3, 4, 5] and len(short.marks) == EPOCHS
    assert marks_with(long, Mark.NO_VIDEO) == []
    assert "60 s before and 60 s after the recording's epochs: those are left out" in text


def test_a_truncated_film_is_read_as_far_as_it_goes(simulate, prepare, tmp_path):
    files = simulate(film="mkv")
    content = files.film.read_bytes()
    files.film.write_bytes(content[: len(content) * 6 // 10])
    status, text = prepare([row_of("p", files)])
    night = read_night(tmp_path / "out", "p-1")
    missing = marks_with(night, Mark.NO_VIDEO)
    assert status == 0 and missing and missing[-1] == EPOCHS - 1 and 0 not in missing
    assert (night.stages >= 0).all() and "p-1: warning: the film" in text


def test_a_damaged_packet(simulate, prepare, tmp_path):
    files = simulate(codec="mpeg4")
    content = bytearray(files.film.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(range(250)) * 12
    files.film.write_bytes(content)
    status, text = prepare([row_of("p", files)])
    night = read_night(tmp_path / "out", "p-1")
    assert status == 0 and "damaged" in text
    assert 0 < len(marks_with(night, Mark.VIDEO_DAMAGED)) < EPOCHS


def test_a_clock_that_is_wrong_by_hours(simulate, prepare):
    status, text = prepare([row_of("p", simulate(film_start_error_s=3600.0))])
    assert status == 1
    assert "do not overlap" in text and "pass video_offset_s=0" in text


def test_a_film_without_a_start_time(simulate, prepare, tmp_path):
    files = simulate(film_start=False)
    status, text = prepare([row_of("p", files)])
    assert status == 1 and "the film says no start time; pass video_offset_s" in text
    status, _ = prepare([row_of("p", files, video_offset_s="0.5")])
    assert status == 0 and read_night(tmp_path / "out", "p-1").facts["offset_s"] == 0.5


def test_a_recording_with_gaps(prepare, tmp_path):
    """EDF+D: a part of an epoch, and two whole ones, were not recorded."""
    seconds = 120
    rng = np.random.default_rng(0)
    waves = (50 * rng.standard_normal(seconds * 128)).round()
    onsets = [at + (70 if at >= 50 else 0) for at in range(seconds)]
    eeg = write_edf_plus(
        tmp_path / "gaps.edf", {"EEG C4-M1": waves}, 128, onsets=onsets, start=START
    )
    status, text = prepare([{"subject": "p", "eeg": eeg}])
    night = read_night(tmp_path / "out", "p-1")
    assert status == 0 and len(night.marks) == 6
    assert marks_with(night, Mark.NO_EEG) == [2, 3]
    assert marks_with(night, Mark.EEG_GAP) == [1]
    assert np.isnan(night.signals["eeg"][2:4]).all()
    assert np.isfinite(night.signals["eeg"][[0, 1, 4, 5]]).all()
    assert "eeg_gap 1" in text


@pytest.mark.parametrize(("unit", "scale"), [("mV", 1e-3), ("V", 1e-6)])
def test_other_units(prepare, tmp_path, unit, scale):
    rows = [
        {"subject": "a", "eeg": write_recording(tmp_path / "a.edf")},
        {"subject": "b", "eeg": write_recording(tmp_path / "b.edf", unit=unit, scale=scale)},
    ]
    assert prepare(rows)[0] == 0
    one, other = (read_night(tmp_path / "out", name).signals["eeg"] for name in ("a-1", "b-1"))
    np.testing.assert_allclose(one, other, atol=0.05)
    assert 40 < abs(one[1:3]).max() < 60


@pytest.mark.parametrize("rate_hz", [49.9, 512])
def test_other_rates(prepare, tmp_path, rate_hz):
    """100 samples a second come of each, or a sentence says why not."""
    eeg = write_recording(tmp_path / "a.edf", rate_hz=rate_hz)
    status, text = prepare([{"subject": "a", "eeg": eeg}], eeg_channel=("C4-M1",))
    if status:
        assert rate_hz == 49.9 and "49.9" in text and str(eeg) in text
        return
    values = read_night(tmp_path / "out", "a-1").signals["eeg"]
    wanted = 50 * np.sin(2 * np.pi * 2 * np.arange(12000) / 100)
    np.testing.assert_allclose(values.reshape(-1)[3000:9000], wanted[3000:9000], atol=3)


def test_channels_that_are_not_there(simulate, prepare):
    status, text = prepare([row_of("p", simulate(), video="", eeg_channel="Fz-Cz")])
    assert status == 1 and "'Fz-Cz'" in text and "EEG C4-M1" in text


@pytest.mark.parametrize(
    ("lines", "scored", "expected"),
    [
        (["W"] * 9, 6, "3 of 9 epochs of the hypnogram have a stage and lie outside"),
        (["N2"] * 4, 4, "covers 4 of the recording's 6 epochs"),
    ],
)
def test_a_hypnogram_of_another_length(simulate, prepare, tmp_path, lines, scored, expected):
    scores = tmp_path / "scores.txt"
    scores.write_text("\n".join(lines) + "\n")
    status, text = prepare([row_of("p", simulate(), video="", hypnogram=scores)])
    night = read_night(tmp_path / "out", "p-1")
    assert status == 0 and expected in text
    assert (night.stages >= 0).sum() == scored
    assert marks_with(night, Mark.UNSCORED) == list(range(scored, EPOCHS))


def test_numbers_of_stages_are_as_the_user_says(simulate, prepare, tmp_path):
    scores = tmp_path / "scores.txt"
    scores.write_text("0\n1\n2\n3\n4\n4\n")
    rows = [row_of("p", simulate(), video="", hypnogram=scores)]
    status, text = prepare(rows)
    assert status == 1 and "--hypnogram-numbers yasa or --hypnogram-numbers rk" in text
    for numbers, last in (("yasa", 4), ("rk", 3)):
        out = tmp_path / numbers
        status, _ = prepare(rows, out=out, hypnogram_numbers=numbers)
        assert status == 0
        assert read_night(out, "p-1").stages.tolist() == [0, 1, 2, 3, last, last]


def test_a_hypnogram_off_the_grid_has_the_nights_epochs(simulate, prepare, tmp_path):
    """The scorer began 7 s after the recording: the night's epochs are the scorer's."""
    edfio = import_extra("edfio", "sleep")
    scores = tmp_path / "scores.edf"
    edfio.Edf(
        [],
        recording=edfio.Recording(startdate=START.date()),
        starttime=START.time(),
        annotations=[
            edfio.EdfAnnotation(7 + 30 * at, 30, f"Sleep stage {stage}")
            for at, stage in enumerate(["W", "N1", "N2", "N3", "R"])
        ],
    ).write(scores)
    files = simulate()
    status, text = prepare([row_of("p", files, hypnogram=scores)])
    night = read_night(tmp_path / "out", "p-1")
    assert status == 0 and night.stages.tolist() == [0, 1, 2, 3, 4]
    assert night.start == "2024-03-09T22:47:19"
    assert "the scorer's epochs begin 7 s after the recording" in text
    plain, _ = prepare([row_of("p", files)], out=tmp_path / "plain")
    assert plain == 0
    whole = read_night(tmp_path / "plain", "p-1").signals["eeg"].reshape(-1)
    np.testing.assert_array_equal(night.signals["eeg"].reshape(-1), whole[700:15700])


def test_names_in_other_letters(simulate, prepare, tmp_path):
    files = simulate("Schläfer 1 – März", folder=tmp_path / "Nächte")
    status, text = prepare([row_of("Jürgen Å", files)])
    assert status == 0 and "Jürgen Å-1" in text
    assert read_night(tmp_path / "out", "Jürgen Å-1").subject == "Jürgen Å"


def test_a_full_disk(simulate, prepare, tmp_path):
    """The file is named, nothing half stays, and the same command continues with more room."""
    files = simulate(hours=0.025)
    prepare([row_of("p", files)], out=tmp_path / "whole")
    out = tmp_path / "out"
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "xdistill",
            "prepare",
            "--table",
            tmp_path / "nights.csv",
            "--out",
            out,
        ],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert process.returncode == 1
    assert process.stderr.startswith("error: night p-1: ")
    assert f"{out / 'nights' / 'p-1'} cannot be written" in process.stderr
    assert [path.name for path in (out / "nights").iterdir()] == []
    assert prepare([row_of("p", files)])[0] == 0
    assert tree(out) == tree(tmp_path / "whole")


def test_a_missing_library_would_fail_every_night():
    assert stops_all(ImportError("no mne")) and not stops_all(ValueError("broken"))
