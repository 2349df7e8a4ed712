"""`xdistill prepare` on whole nights: what it writes is what the files show."""

import json
from pathlib import Path

import numpy as np
import pytest

import xdistill as xd
from tests.sleep.prepare.small_nights import EPOCHS, row_of
from xdistill.data.adapters.nights import read_night, read_prepared, usable
from xdistill.data.sleep_stages import STAGES
from xdistill.sleep.body.features import BODY_FEATURES
from xdistill.sleep.films.epochs import film_epochs
from xdistill.sleep.grid import Grid
from xdistill.sleep.prepare.command import Options, run
from xdistill.sleep.recordings.recording import read_recording
from xdistill.sleep.video_options import VideoOptions


def test_three_nights(prepared, three):
    assert read_prepared(prepared).done == ("p0-1", "p1-1", "p2-1")
    for at in range(3):
        night = read_night(prepared, f"p{at}-1")
        truth = json.loads((three.parent / f"n{at}_truth.json").read_text())
        assert [STAGES[stage] for stage in night.stages] == [
            epoch["stage"] for epoch in truth["epochs"]
        ]
        assert night.subject == f"p{at}" and night.start == "2024-03-09T22:47:12"
        assert night.feature_names == BODY_FEATURES
        assert night.video is not None and night.video.shape == (EPOCHS, 30, 48, 48)
        assert night.body is not None and night.body.shape == (EPOCHS, 18, 300)
        assert {kind: one.shape for kind, one in night.signals.items()} == {
            "eeg": (EPOCHS, 1, 3000),
            "eog": (EPOCHS, 1, 3000),
            "emg": (EPOCHS, 1, 3000),
            "resp": (EPOCHS, 1, 750),
        }
        assert night.facts["offset_s"] == truth["offset_s"] == (7 if at == 0 else 0)
        assert night.facts["counts"]["scored"] == EPOCHS
        assert night.facts["video"] == read_prepared(prepared).options["video"]
        assert not any(path.name.endswith(".part") for path in prepared.rglob("*"))


def test_arrays_are_those_of_the_files(prepared, three):
    """The first night's film begins 7 s late: its epochs are those of the recording."""
    night = read_night(prepared, "p0-1")
    recording = read_recording(
        three.parent / "n0.edf", {"eeg": ["EEG C4-M1"], "eog": [], "emg": [], "resp": []}
    )
    np.testing.assert_array_equal(
        night.signals["eeg"][:, 0].reshape(-1), recording.signals["eeg"].values[0]
    )
    assert night.video is not None and night.body is not None
    film = film_epochs(three.parent / "n0.mp4", VideoOptions(), Grid(-7.0, EPOCHS))
    for epoch in film:
        assert epoch.clip is not None and epoch.body is not None and epoch.features is not None
        np.testing.assert_array_equal(night.video[epoch.number], epoch.clip)
        np.testing.assert_array_equal(night.body[epoch.number], epoch.body)
        np.testing.assert_allclose(night.features[epoch.number], epoch.features, rtol=1e-5)
        of_film = {mark for mark in night.marks[epoch.number] if not mark.startswith("eeg_")}
        assert of_film == {str(mark) for mark in epoch.marks}
    assert "video_gap" in night.marks[0]


def test_it_is_a_data_set(prepared):
    splits = xd.create_dataset("nights", root=prepared, modalities=("video", "eeg", "body"))
    assert sorted(map(len, (splits.train, splits.val, splits.test))) == [EPOCHS] * 3


def test_what_is_printed(three, tmp_path, capsys):
    assert run(Options(out=tmp_path / "out", table=three)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 nights: 0 done, 3 to do"
    assert [line.partition(" (")[0] for line in lines[1:4]] == [
        f"[{at + 1}/3] p{at}-1: done" for at in range(3)
    ]
    assert lines[4].split()[:7] == ["night", "subject", "epochs", "video", "EEG", "scored", "YASA"]
    assert lines[6].split()[:9] == ["p0-1", "p0", "6", "6", "6", "6", "0", "+7.00", "s"]
    assert sum("p0-1, p1-1, p2-1: warning: the film's clock" in line for line in lines) == 1


def test_a_night_without_a_film_and_one_without_a_recording(simulate, prepare, tmp_path):
    files = simulate(film_s=100.0, film_late_s=0)
    status, text = prepare(
        [
            row_of("p", files, night="heard", video=""),
            row_of("q", simulate("o", film_s=100.0), night="seen", eeg="", hypnogram=""),
        ]
    )
    assert status == 0
    heard, seen = (read_night(tmp_path / "out", name) for name in ("heard", "seen"))
    assert heard.video is None and heard.facts["offset_s"] is None
    assert usable(heard, "eeg").all() and not usable(heard, "video").any()
    assert all("no_video" in marks for marks in heard.marks)
    assert (heard.stages >= 0).all() and np.isnan(heard.features).all()
    assert seen.signals == {} and seen.video is not None and len(seen.video) == 3
    assert all({"no_eeg", "unscored"} <= marks for marks in seen.marks)
    assert "warning: the film's clock" not in text


def test_one_night_by_flags(simulate, tmp_path, capsys):
    files = simulate(film_late_s=-10.0, film_start=False)
    night = {"subject": "p", "eeg": files.eeg, "video": files.film}
    status = run(Options(out=tmp_path / "out", **night, video_offset_s=-10.0, night="a"))
    assert status == 0
    assert read_night(tmp_path / "out", "a").facts["offset_s"] == -10
    capsys.readouterr()
    assert run(Options(out=tmp_path / "out2", **night)) == 1
    assert "says no start time; pass video_offset_s" in capsys.readouterr().out


@pytest.mark.slow
def test_a_film_that_is_off_is_moved_where_the_evidence_is(simulate, tmp_path, capsys):
    """A start time that is 5 s wrong; the belt shows it, and the moved film is the right one."""
    long = {"hours": 0.25, "film_late_s": -20.0, "film_s": 930.0}
    right, wrong = simulate("r", **long), simulate("w", **long, film_start_error_s=5.0)

    def prepared(files, name, correct):
        night = {"subject": "p", "eeg": files.eeg, "video": files.film}
        out = tmp_path / name
        assert run(Options(out=out, **night, correct_drift=correct)) == 0
        return read_night(out, "p-1"), capsys.readouterr().out

    wanted, _ = prepared(right, "right", "never")
    moved, text = prepared(wrong, "moved", "auto")
    left, told = prepared(wrong, "left", "never")
    assert moved.facts["moved"] and abs(moved.facts["offset_s"] + 20) < 0.3
    assert moved.facts["expected_offset_s"] == -15
    assert "it was moved there" in text and "belt, was -15.00 s" in text
    assert not left.facts["moved"] and left.facts["offset_s"] == -15
    assert abs(left.facts["alignment"]["offset_s"] + 20) < 0.3
    assert "it was not moved" in told

    def agreement(night):
        pairs = zip(night.body[:, 1].reshape(-1), wanted.body[:, 1].reshape(-1), strict=True)
        return np.corrcoef(np.array(list(pairs)).T)[0, 1]

    assert agreement(moved) > 0.85 > 0.5 > agreement(left)
    difference = np.abs(moved.video.astype(float) - wanted.video).mean(axis=(1, 2, 3))
    shifted = np.abs(left.video.astype(float) - wanted.video).mean(axis=(1, 2, 3))
    assert difference.mean() < shifted.mean()


@pytest.mark.slow
def test_yasa_stages_what_nobody_scored(simulate, prepare, tmp_path):
    pytest.importorskip("yasa")
    files = simulate(hours=0.1, hypnogram=False)
    status, _ = prepare([row_of("p", files, video="", hypnogram="yasa")])
    night = read_night(tmp_path / "out", "p-1")
    assert status == 0 and night.yasa is not None and (night.stages == -1).all()
    np.testing.assert_allclose(night.yasa.sum(axis=1), 1, atol=1e-5)
    assert night.facts["counts"]["yasa"] == 12 and night.facts["counts"]["scored"] == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "expected either --table"),
        ({"table": Path("t.csv"), "subject": "p"}, "got both"),
        ({"table": Path("t.csv"), "eeg": Path("a.edf")}, "--eeg is of one night"),
        ({"table": Path("t.csv"), "workers": 0}, "--workers must be at least 1"),
        ({"table": Path("t.csv"), "signals": ("eeg", "ecg")}, "--signals must be some of"),
        ({"table": Path("t.csv"), "size": 4}, "size must be from 8"),
    ],
)
def test_options_that_do_not_go_together(options, expected):
    with pytest.raises(ValueError, match=expected):
        Options(out=Path("out"), **options)


def test_settings_leave_out_what_decides_no_value(tmp_path):
    one = Options(out=tmp_path, table=tmp_path / "a.csv", workers=3, overwrite=True)
    other = Options(out=tmp_path / "b", subject="p")
    assert one.settings() == other.settings() and json.dumps(one.settings())
