"""What a run shows: a bar in a terminal, a line for each epoch in a file or pipe."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.test_fit import QUIET, alone, loaders
from xdistill.engine import fit
from xdistill.engine.progress import EpochLines, Progress, progress_for

ROOT = Path(__file__).parents[2]
RUN = """
from tests.engine.test_fit import alone, loaders
from xdistill.engine import fit
fit(alone(), *loaders(), max_epochs=3, accelerator="cpu", devices=1, check_val_every_n_epoch=2)
"""


def test_a_pipe_gets_a_line_for_each_epoch():
    found = subprocess.run(
        [sys.executable, "-c", RUN], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0 and found.stdout == ""
    assert "\r" not in found.stderr
    start, *lines = found.stderr.splitlines()
    assert start.startswith("xdistill: 60 rows, 3 epochs")
    number = r"\d+(\.\d+)?"
    for epoch, line in enumerate(lines):
        measured = rf", val/macro_f1 {number}" if epoch == 1 else ""
        told = rf"xdistill: epoch {epoch}/2: train/loss {number}{measured}, {number} s"
        assert re.fullmatch(told, line), line
    assert len(lines) == 3


@pytest.mark.parametrize("monitor", ["train/loss", "train/cross_entropy"])
def test_a_term_of_training_may_be_what_is_shown(capfd, monitor):
    train, _ = loaders()
    options = {**QUIET, "enable_progress_bar": True, "max_epochs": 1, "monitor": monitor}
    fit(alone(), train, **options)
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.count(monitor) == 1 and "train/loss" in line


def test_a_terminal_and_a_notebook_get_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert isinstance(progress_for(None), EpochLines)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert isinstance(progress_for(None), Progress)
    monkeypatch.delitem(sys.modules, "ipykernel")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert isinstance(progress_for(None), Progress)


def test_other_ranks_say_nothing(capfd):
    lines = EpochLines(None)
    lines.disable()
    options = {**QUIET, "enable_progress_bar": True, "max_epochs": 1}
    fit(alone(), *loaders(), callbacks=[lines], **options)
    assert "epoch 0" not in capfd.readouterr().err
