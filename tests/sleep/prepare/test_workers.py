"""Tasks in processes: results, errors, and processes that die."""

import errno
import os
import signal
import time

from xdistill.sleep.prepare.progress import Progress
from xdistill.sleep.prepare.workers import run_all


def work(task, tell):
    tell(0.5)
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "wrong":
        raise ValueError("offset_s is wrong")
    if task == "bug":
        raise KeyError("x")
    if task == "full":
        raise OSError(errno.ENOSPC, "full")
    if isinstance(task, float):
        time.sleep(task)
    tell(1.0)
    return task, os.getpid()


def is_full(error):
    return getattr(error, "errno", None) == errno.ENOSPC


def ended(tasks, workers):
    told = []
    found = run_all(
        work,
        [(str(task), task) for task in tasks],
        workers=workers,
        told=lambda name, share: told.append((name, share)),
        stops=is_full,
    )
    return {one.name: one for one in found}, told


def test_one_after_the_other():
    found, told = ended([0.0, "wrong", "bug", "full"], 1)
    assert found["0.0"].result == (0.0, os.getpid())
    assert found["wrong"].error == "video_offset_s is wrong" and not found["wrong"].stops
    assert found["bug"].error == "KeyError: 'x'" and found["full"].stops
    assert told[:3] == [("0.0", 0.5), ("0.0", 1.0), ("wrong", 0.5)]


def test_in_processes_of_which_one_is_killed():
    found, told = ended(["die", 0.1, "wrong"], 2)
    assert "SIGKILL" in (found["die"].error or "") and "memory" in (found["die"].error or "")
    assert found["0.1"].result is not None and found["0.1"].result[1] != os.getpid()
    assert found["wrong"].error == "video_offset_s is wrong"
    assert {("0.1", 0.5), ("0.1", 1.0), ("wrong", 0.5)} <= set(told)


def test_processes_end_when_nobody_waits_for_them():
    tasks = run_all(
        work,
        [("quick", "x"), ("long", 600.0)],
        workers=2,
        told=lambda name, share: None,
        stops=is_full,
    )
    assert next(tasks).name == "quick"
    begin = time.monotonic()
    tasks.close()
    assert time.monotonic() - begin < 60


def test_lines_where_there_is_no_terminal(capsys):
    with Progress(2) as progress:
        progress.at("a", 0.5)
        progress.end("a", "done")
    assert capsys.readouterr() == ("[1/2] a: done (0:00)\n", "")


def test_a_bar_in_a_terminal(capsys):
    with Progress(2, terminal=True) as progress:
        progress.at("a", 0.5)
        progress.end("a", "done")
    out, bar = capsys.readouterr()
    assert "[1/2] a: done" in out and "0.50/2 nights" in bar and "1.00/2 nights" in bar
