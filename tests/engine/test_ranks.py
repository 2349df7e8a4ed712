"""Two and four processes train and choose the student that one does, and all of them hold it."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch

ROOT = Path(__file__).parents[2]


@cache
def ranks(processes: int, monitor: str, kind: str) -> tuple[dict, ...]:
    folder = mkdtemp()
    command = [sys.executable, "-m", "tests.engine.fit_over_ranks", processes, monitor, kind]
    found = subprocess.run(
        [*map(str, command), folder], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stderr
    assert "It is recommended to use `self.log" not in found.stderr
    return tuple(json.loads(path.read_text()) for path in sorted(Path(folder).glob("rank*.json")))


def of_a_batch(name: str) -> bool:
    """khn mines within a process; a loss of validation is a mean over batches, of other sizes."""
    losses = ("val/loss", "val/cross_entropy", "val/infonce", "val/teacher")
    return name.endswith("khn") or name.startswith(losses)


def history_close(ours, theirs):
    assert len(ours) == len(theirs)
    for row, expected in zip(ours, theirs, strict=True):
        one, other = (
            {name: value for name, value in each.items() if not of_a_batch(name)}
            for each in (row, expected)
        )
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


RUNS = [
    (2, "cached", "val/macro_f1"),
    (2, "frozen", "train/loss"),
    (2, "training", "train/loss"),
    (4, "training", "val/macro_f1"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kind", "monitor"), RUNS)
def test_several_processes_are_one(processes, kind, monitor):
    (one,), several = ranks(1, monitor, kind), ranks(processes, monitor, kind)
    assert len(several) == processes
    for rank in several:
        assert rank["student"] == several[0]["student"]
        assert rank["beside"] == several[0]["beside"]
        assert rank["history"] == several[0]["history"]
        assert rank["best_epoch"] == one["best_epoch"]
        assert rank["best_value"] == pytest.approx(one["best_value"], rel=1e-4)
        for name, tensor in one["weights"].items():
            ours = torch.tensor(rank["weights"][name])
            torch.testing.assert_close(ours, torch.tensor(tensor), rtol=1e-3, atol=1e-4)
        assert rank["bank"].keys() == one["bank"].keys() and one["bank"]
        for name, values in one["bank"].items():
            assert rank["bank"][name] == pytest.approx(values, rel=1e-3, abs=1e-4)
        history_close(rank["history"], one["history"])


@pytest.mark.slow
def test_statistics_of_a_batchnorm_are_the_same_on_all_ranks():
    several = ranks(2, "val/macro_f1", "norm")
    assert len({rank["student"] for rank in several}) == 1
    assert several[0]["history"] == several[1]["history"]


@pytest.mark.slow
def test_a_rank_that_fails_does_not_leave_the_others_waiting(tmp_path):
    command = [sys.executable, "-m", "tests.engine.fit_over_ranks", "2", "val/macro_f1", "broken"]
    found = subprocess.run(
        [*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert found.returncode != 0 and "FloatingPointError" in found.stderr
    assert not list(tmp_path.glob("rank*"))
