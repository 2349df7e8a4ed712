"""`xdistill stage`: the folder of a night, mistakes, and live use."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from sleep_runs import EPOCHS, START, VIDEO, frames, write_film

from xdistill.cli import main
from xdistill.data.sleep_stages import STAGES
from xdistill.sleep.films.epochs import camera_epochs
from xdistill.sleep.films.facts import FilmFacts
from xdistill.sleep.grid import Grid
from xdistill.sleep.hypnograms.hypnogram import Hypnogram
from xdistill.sleep.hypnograms.read import read_hypnogram
from xdistill.sleep.hypnograms.write import write_hypnogram
from xdistill.sleep.stage import command
from xdistill.sleep.stage.command import (
    Options,
    _tell_of_clock,
    decision_line,
    require_fitting,
    tell,
)
from xdistill.sleep.stage.night import NightSoFar
from xdistill.sleep.stage.students import load_stager
from xdistill.sleep.video_options import VideoOptions

FILES = [
    "body.png", "epochs.csv", "hypnogram.annot", "hypnogram.csv", "hypnogram.edf",
    "hypnogram.png", "hypnogram.txt", "report.html", "stage.json", "statistics.csv",
]  # fmt: skip


def stage(*arguments) -> int:
    return main(["stage", *map(str, arguments)])


@pytest.fixture(scope="module")
def staged(film, run, tmp_path_factory):
    out = tmp_path_factory.mktemp("nights") / "one"
    assert stage(film, "--model", run, "--out", out) == 0
    return out


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_of_a_night(staged):
    assert sorted(one.name for one in staged.iterdir()) == FILES
    rows = table(staged / "epochs.csv")
    assert [row["epoch"] for row in rows] == [str(at) for at in range(EPOCHS)]
    assert rows[2]["time"] == "2026-03-04 22:52:12"
    for row in rows:
        chances = [float(row[f"p_{name}"]) for name in STAGES]
        assert sum(chances) == pytest.approx(1, abs=1e-4)
        assert row["stage"] == STAGES[int(np.argmax(chances))]
        assert float(row["confidence"]) == pytest.approx(max(chances))
        assert float(row["activity"]) >= 0
    kept = json.loads((staged / "stage.json").read_text())
    assert kept["statistics"]["TIB"] == 2.5 and kept["preprocessing"]["frames"] == VIDEO.frames
    measures = {row["measure"]: row for row in table(staged / "statistics.csv")}
    assert measures["TIB"]["value"] == "2.5" and measures["TST"]["held_out_sleepers"] == "3"
    assert "not a medical device" in (staged / "report.html").read_text()


@pytest.mark.parametrize("ending", ["csv", "txt", "annot", "edf"])
def test_every_form_of_the_hypnogram_holds_the_same(staged, ending):
    right = [STAGES.index(row["stage"]) for row in table(staged / "epochs.csv")]
    assert read_hypnogram(staged / f"hypnogram.{ending}", START).stages.tolist() == right


def test_yasa_reads_the_hypnogram(staged):
    yasa = pytest.importorskip("yasa")
    lines = (staged / "hypnogram.txt").read_text().split()
    found = yasa.Hypnogram(lines, n_stages=5).sleep_statistics()
    measures = {row["measure"]: row["value"] for row in table(staged / "statistics.csv")}
    assert float(measures["TST"]) == found["TST"] and float(measures["SE"]) == found["SE"]


def test_a_reference_is_compared_on_its_own_epochs(film, run, tmp_path, capsys):
    """The scorer began 12 s after the film: the film is cut into the scorer's epochs."""
    marks = (frozenset(),) * 4
    scored = Hypnogram(np.array([0, 2, 2, 4], np.int8), marks, 0.0, None, "AB")
    reference = tmp_path / "scored.edf"
    write_hypnogram(reference, scored, start=START + timedelta(seconds=12))
    out = tmp_path / "out"
    assert stage(film, "--model", run, "--out", out, "--reference", reference) == 0
    kept = json.loads((out / "stage.json").read_text())
    assert kept["film"]["grid"]["start_s"] == 12 and kept["epochs"] == 4
    assert kept["start"] == (START + timedelta(seconds=12)).isoformat()
    text = (out / "report.html").read_text()
    assert "Agreement with scored.edf" in text and "% of 4 epochs" in text.replace("\u00a0", " ")
    del capsys


@pytest.mark.parametrize(
    ("start", "begins_s", "told"),
    [(None, 0.0, "says no start time"), (START, 12.0, "begin 12 s after the film"), (START, 0, "")],
)
def test_where_a_reference_was_put_is_told(start, begins_s, told):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        _tell_of_clock(Path("night.mp4"), start, Grid(begins_s, 4))
    assert [told in str(one.message) for one in said] == ([True] if told else [])


def test_nothing_is_overwritten_unasked(film, run, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / ".night.dead.part").mkdir()  # of a killed run
    assert stage(film, "--model", run, "--out", tmp_path) == 1
    assert "is not empty (it holds mine.txt)" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["mine.txt"]
    assert stage(film, "--model", run, "--out", tmp_path, "--overwrite") == 0
    assert sorted(os.listdir(tmp_path)) == sorted([*FILES, "mine.txt"])
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_mistakes_are_one_sentence(film, run, tmp_path, capsys):
    short = write_film(tmp_path / "short.mkv", islice(frames(), 50))
    slow = write_film(tmp_path / "slow.mkv", frames(60, 0.1), 0.1)
    (tmp_path / "text.mp4").write_text("no film")
    out = tmp_path / "out"
    for source, model, rest, message in [
        (tmp_path / "no.mp4", run, (), "there is no film"),
        (tmp_path / "text.mp4", run, (), "cannot be read as a film"),
        (short, run, (), "lasts 10.0 s, and an epoch 30 s"),
        (slow, run, (), "has 0.1 frames a second"),
        (film, tmp_path / "no", (), "there is no run"),
        (film, tmp_path, (), "config.json is missing"),
        (film, run, ("--student", "khn"), "no student of method 'khn'"),
        (film, run, ("--reference", "no.edf"), "no.edf is missing"),
        (film, run, ("--batch-size", "0"), "--batch-size must be at least 1"),
        (film, run, ("--hours", "2"), "--hours ends a live night"),
        ("3", run, ("--reference", "no.edf"), "a live night has no --reference"),
    ]:
        assert stage(source, "--model", model, "--out", out, *rest) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error, error
        assert not out.exists()
    assert stage(film, "--model", run) == 1
    assert "--out is missing" in capsys.readouterr().err


def test_what_is_wrong_with_a_film_is_told(run, tmp_path, capsys):
    """Four frames a second where training had five."""
    film = write_film(tmp_path / "slower.mkv", frames(60, 4), 4, start=False)
    assert stage(film, "--model", run, "--out", tmp_path / "out") == 0
    assert "warning: " in capsys.readouterr().err
    kept = json.loads((tmp_path / "out" / "stage.json").read_text())
    assert "less fine" in kept["warnings"][0] and kept["start"] is None
    assert table(tmp_path / "out" / "epochs.csv")[0]["time"] == ""


def test_a_camera_s_night_is_that_of_its_film(run, capsys):
    """The live decisions of a causal student, printed one by one."""
    stager = load_stager(run, "causal")
    night = NightSoFar(stager)
    tell(camera_epochs(frames(), stager.preprocessing), night, START)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == EPOCHS == len(night)
    assert lines[1].startswith("22:51:42  ")
    for line, stages in zip(lines, night.night("camera", START).stages, strict=True):
        assert line.split()[1] == STAGES[stages]


def test_a_decision_comes_with_its_epoch(run, monkeypatch):
    """No decision waits for a frame of the epoch after the next."""
    seen: list[float] = []
    shown: list[float] = []

    def watched():
        for at, frame in frames():
            seen.append(at)
            yield at, frame

    monkeypatch.setattr(command, "print", lambda *a, **k: shown.append(seen[-1]), raising=False)
    stager = load_stager(run, "causal")
    tell(camera_epochs(watched(), stager.preprocessing), NightSoFar(stager), START)
    assert [30 * (at + 1) for at in range(EPOCHS - 1)] <= shown[:-1]
    assert all(at < 30 * (epoch + 1) + 1 for epoch, at in enumerate(shown[:-1]))


def test_a_hand_that_ends_the_night_keeps_it(run, capsys):
    def interrupted():
        yield from islice(frames(), 400)
        raise KeyboardInterrupt

    stager = load_stager(run, "causal")
    night = NightSoFar(stager)
    tell(camera_epochs(interrupted(), stager.preprocessing), night, START)
    assert len(night) == 2 and "ended by hand" in capsys.readouterr().err


def test_a_live_night_is_written(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        command,
        "camera_epochs",
        lambda source, options, grid: camera_epochs(frames(), options, grid),
    )
    out = tmp_path / "out"
    assert stage("7", "--model", run, "--out", out, "--hours", 0.03) == 0
    kept = json.loads((out / "stage.json").read_text())
    assert kept["camera"] == 7 and kept["epochs"] == 3 and kept["source"] == "camera 7"
    captured = capsys.readouterr()
    assert "looks both ways" in captured.err and "written: " in captured.out


def test_a_camera_that_is_not_there(run, capfd):
    pytest.importorskip("cv2")
    assert stage("97", "--model", run) == 1
    assert "error: " in capfd.readouterr().err


def test_an_epoch_without_a_picture_is_printed_as_such():
    from xdistill.sleep.marks import Mark
    from xdistill.sleep.stage.night import Decision

    nothing = Decision(4, np.full(5, np.nan, np.float32), frozenset({Mark.NO_VIDEO}))
    text = decision_line(nothing, datetime(2026, 1, 1, 23, 59))
    assert text == "00:01:00  –    W –  N1 –  N2 –  N3 –  REM –  no_video"


def test_options_name_a_camera_by_its_number(run, tmp_path, monkeypatch):
    assert Options("0", run).live and not Options("a.mp4", run, tmp_path).live
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12").write_bytes(b"")
    assert not Options("12", run, tmp_path).live  # a film of that name


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_file(film, run, tmp_path):
    """Killed at several moments: the folder holds whole files or none, and can be used again."""
    out = tmp_path / "out"
    arguments = ["stage", str(film), "--model", str(run), "--out", str(out), "--overwrite"]
    for delay_s in (3.0, 6.0, 9.0):
        process = subprocess.Popen(
            [sys.executable, "-m", "xdistill", *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        visible = [one for one in out.glob("*") if not one.name.startswith(".")]
        assert all(one.name in FILES and one.stat().st_size > 0 for one in visible)
    assert main(arguments) == 0
    assert sorted(os.listdir(out)) == FILES


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_eight_hours_need_little_memory(run, tmp_path):
    """Eight hours at 2 frames a second, in a process of its own."""
    still = list(islice(frames(), 40))
    pairs = (still[at % 40] for at in range(8 * 3600 * 2))
    film = write_film(tmp_path / "long.mkv", pairs, 2)
    code = (  # not ru_maxrss, which a process inherits from the one that started it
        "import re, sys; from xdistill.cli import main; code = main(sys.argv[1:]); "
        "status = open('/proc/self/status').read(); "
        "print('peak', re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]); sys.exit(code)"
    )
    arguments = ["stage", str(film), "--model", str(run), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak_kb = int(done.stdout.split()[-1])
    assert peak_kb < 1.5e6
    assert len(table(tmp_path / "out" / "epochs.csv")) == 960


@pytest.mark.parametrize(("trained_hz", "told"), [(None, True), (10.0, True), (5.0, False)])
def test_a_slow_film_is_told_of_where_those_of_training_were_faster(trained_hz, told):
    facts = FilmFacts(Path("x.mp4"), 64, 64, 60.0, 300, 5.0, False, None, 0, 0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        require_fitting(facts, VideoOptions(), trained_hz)
    assert [("less fine" in str(one.message)) for one in caught] == [True] * told


def test_a_reference_of_numbers_names_the_option(film, run, tmp_path, capsys):
    scored = tmp_path / "scored.txt"
    scored.write_text("\n".join(["0", "1", "2", "4"] * EPOCHS) + "\n")
    assert stage(film, "--model", run, "--reference", scored, "--out", tmp_path / "out") == 1
    assert "--reference-numbers yasa" in capsys.readouterr().err
