"""A folder between runs: killed ones continue, finished nights stay, and nothing is overwritten."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sleep.prepare.small_nights import command, row_of, tree, write_table
from xdistill.data.adapters.nights import read_prepared
from xdistill.sleep.prepare.command import Options, run
from xdistill.storage import lock
from xdistill.storage.lock import alone_in


@pytest.fixture
def copied(prepared, tmp_path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "out"))


def wait_for(condition, process: subprocess.Popen[str], limit_s: float = 120) -> None:
    begin = time.monotonic()
    while not condition() and process.poll() is None and time.monotonic() - begin < limit_s:
        time.sleep(0.01)


def test_a_killed_run_continues_to_the_same_bytes(three, prepared, tmp_path):
    root = tmp_path / "out"
    rng = random.Random(os.getpid())
    moments = (
        lambda: any(root.glob("nights/.*.part/*.npy")),
        lambda: (root / "nights" / "p0-1").exists(),
    )
    for moment in moments:
        process = command("--table", three, "--out", root)
        wait_for(moment, process)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
    assert run(Options(out=root, table=three)) == 0
    assert tree(root) == tree(prepared)


def test_nights_at_the_same_time_are_the_same_bytes(three, prepared, tmp_path):
    root = tmp_path / "out"
    assert run(Options(out=root, table=three, workers=3)) == 0
    assert tree(root) == tree(prepared)


def test_two_runs_at_once(three, prepared, tmp_path):
    """One waits for the other or is refused; the folder is as of one run."""
    root = tmp_path / "out"
    both = [command("--table", three, "--out", root) for _ in range(2)]
    ended = [(process.communicate(timeout=280)[0], process.returncode) for process in both]
    assert 0 in [status for _, status in ended]
    for text, status in ended:
        assert status == 0 or "another run is at work in" in text
    assert tree(root) == tree(prepared)


def test_a_second_run_is_refused(three, copied, monkeypatch):
    monkeypatch.setattr(lock, "WAIT_S", 0.1)
    with alone_in(copied), pytest.raises(FileExistsError, match="another run is at work"):
        run(Options(out=copied, table=three))


def test_finished_nights_are_kept(three, copied, capsys):
    before = {path: path.stat().st_mtime_ns for path in copied.glob("nights/*/*")}
    assert run(Options(out=copied, table=three)) == 0
    assert capsys.readouterr().out.startswith("3 nights: 3 done, 0 to do\nnight ")
    assert {path: path.stat().st_mtime_ns for path in copied.glob("nights/*/*")} == before


def test_a_damaged_night_is_prepared_again(three, prepared, copied, capsys):
    damaged = copied / "nights" / "p1-1" / "eeg.npy"
    content = bytearray(damaged.read_bytes())
    content[-100] ^= 1
    damaged.write_bytes(content)
    (copied / "nights" / "p2-1" / "night.json").unlink()
    assert run(Options(out=copied, table=three)) == 0
    text = capsys.readouterr().out
    assert "note: night p1-1 is prepared again" in text and "does not match its checksum" in text
    assert "3 nights: 1 done, 2 to do" in text
    assert tree(copied) == tree(prepared)


def test_what_was_left_by_a_killed_run_is_removed(three, prepared, copied):
    left = copied / "nights" / ".p0-1.0123.part"
    left.mkdir()
    (left / "clips.npy").write_bytes(b"0")
    run(Options(out=copied, table=three))
    assert not left.exists() and tree(copied) == tree(prepared)


def test_other_options_are_refused(three, copied, prepared):
    with pytest.raises(ValueError) as error:
        run(Options(out=copied, table=three, size=24, correct_drift="never"))
    text = str(error.value)
    assert "video.size: 48 before, 24 now" in text
    assert "correct_drift: auto before, never now" in text and "--overwrite" in text
    assert tree(copied) == tree(prepared)


def test_another_film_of_a_finished_night_is_refused(three, copied, prepared):
    lines = three.read_text(encoding="utf-8").replace("n0.mp4", "n2.mp4").splitlines()
    table = three.parent / "other.csv"
    table.write_text("\n".join(lines[:2]))
    with pytest.raises(ValueError, match="night p0-1: video: another file, or another content"):
        run(Options(out=copied, table=table))
    assert tree(copied) == tree(prepared)


def test_overwriting(simulate, tmp_path, capsys):
    other = simulate("b", hours=0.025, sleeper=1)
    rows = [row_of("p", simulate("a", hours=0.025)), row_of("q", other)]
    table, one = write_table(tmp_path, rows), write_table(tmp_path, rows[:1], "one.csv")
    root = tmp_path / "out"
    run(Options(out=root, table=table))
    small = {"size": 16, "overwrite": True}
    with pytest.raises(ValueError, match=r"nights that are not in the table \(q-1\)"):
        run(Options(out=root, table=one, **small))
    capsys.readouterr()
    assert run(Options(out=root, table=table, **small)) == 0
    assert "2 nights: 0 done, 2 to do" in capsys.readouterr().out
    run(Options(out=tmp_path / "fresh", table=table, size=16))
    assert tree(root) == tree(tmp_path / "fresh")


def test_a_night_is_added(simulate, tmp_path, capsys):
    other = simulate("b", hours=0.025, sleeper=1)
    rows = [row_of("q", other), row_of("p", simulate("a", hours=0.025))]
    run(Options(out=tmp_path / "grown", table=write_table(tmp_path, rows[:1])))
    capsys.readouterr()
    assert run(Options(out=tmp_path / "grown", table=write_table(tmp_path, rows))) == 0
    assert "2 nights: 1 done, 1 to do" in capsys.readouterr().out
    run(Options(out=tmp_path / "at-once", table=write_table(tmp_path, rows)))
    assert tree(tmp_path / "grown") == tree(tmp_path / "at-once")
    run(Options(out=tmp_path / "grown", table=write_table(tmp_path, rows[1:])))
    assert "note: 1 nights of" in capsys.readouterr().out
    assert read_prepared(tmp_path / "grown").done == ("p-1", "q-1")


def test_a_name_that_differs_in_case_alone(simulate, tmp_path):
    files = simulate(hours=0.025)
    night = {"subject": "p", "eeg": files.eeg}
    run(Options(out=tmp_path / "out", **night, night="A"))
    with pytest.raises(ValueError, match="differ in case alone"):
        run(Options(out=tmp_path / "out", **night, night="a"))


def test_a_folder_of_something_else(three, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="is no prepared folder"):
        run(Options(out=tmp_path / "out", table=three))


def test_ctrl_c(three, tmp_path):
    """Stopped by its user: finished nights are kept, nothing half is left, and one line says so."""
    root = tmp_path / "out"
    code = (  # a shell's background process would ignore the signal
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from xdistill.cli import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "prepare", "--table", three, "--out", root, "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: any(root.glob("nights/.*.part/*.npy")), process)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 130 and "the same command continues" in text, text
    assert "Traceback" not in text
    assert not any(root.glob("nights/.*"))
    assert (root / "prepared.json").is_file()
