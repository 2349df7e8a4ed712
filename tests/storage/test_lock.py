"""One run in a folder at a time, and no lock that outlives its process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xdistill.storage import lock
from xdistill.storage.lock import LOCK, alone_in, is_used

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from xdistill.storage.lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(lock, "WAIT_S", 0.2)


def holder(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    return process


def test_a_second_run_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    folder = tmp_path / "run"
    with holder(folder) as process:
        refused = pytest.raises(FileExistsError, match="another run is at work in .*run; wait")
        with refused, alone_in(folder):
            raise AssertionError("two at a time")
        process.send_signal(signal.SIGKILL)
    assert [one.name for one in folder.iterdir()] == [LOCK]
    assert not is_used(folder)
    with alone_in(folder):
        (folder / "result").touch()
    assert [one.name for one in folder.iterdir()] == ["result"] and is_used(folder)


def test_the_same_process_is_another_run_too(tmp_path):
    refused = pytest.raises(FileExistsError, match="another run")
    with alone_in(tmp_path), refused, alone_in(tmp_path):
        raise AssertionError("two at a time")


def test_an_error_releases_it_and_an_empty_folder_goes(tmp_path):
    with pytest.raises(ValueError, match="mine"), alone_in(tmp_path / "run"):
        raise ValueError("mine")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"), alone_in(tmp_path / "file"):
        pass


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def none(*_, **__):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock.FileLock, "acquire", none)
    said = pytest.warns(UserWarning, match="has no locks .*start one run in it at a time")
    with said, alone_in(tmp_path):
        pass
