"""What no run can use is refused before data are made or anything is trained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xdistill.experiment import Options

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
        ({"monitor": "val/f1"}, "--monitor must be one of .*val/macro_f1.*, got val/f1"),
        ({"label_fraction": 0}, "--label-fraction must be above 0 and at most 1, got 0"),
        ({"methods": ("kdd",)}, "unknown loss 'kdd'; did you mean .*'kd'"),
        ({"methods": ("kd+sacd/bank_7",)}, "unknown variant 'sacd/bank_7'; known variants"),
        ({"methods": ("calibrated",)}, "names no loss"),
        ({"student": "vidoe_small"}, "unknown encoder 'vidoe_small'; did you mean 'video_small'"),
        ({"teacher": "eeg_smal"}, "unknown encoder 'eeg_smal'; did you mean 'eeg_small'"),
    ],
)
def test_an_option(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options).check_names()


@pytest.mark.parametrize("script", ["s3ve", "suite"])
def test_on_the_command_line(script, tmp_path):
    bad = {"s3ve": ["--subject-pattern", "("], "suite": ["--data-root", "/nowhere"]}[script]
    command = [sys.executable, f"{script}.py", *bad, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert {"s3ve": "no regular expression", "suite": "--data-root /nowhere is no"}[script] in said
    assert "Traceback" not in said and "Making" not in said and "runs" not in done.stdout
    assert list(tmp_path.iterdir()) == []
