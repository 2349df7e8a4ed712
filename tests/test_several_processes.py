"""The script of docs/several_processes.md runs, in two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import blocks

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_script_of_the_page_ends_with_the_same_numbers_in_both_processes(tmp_path):
    ((_, script),) = blocks(ROOT / "docs/several_processes.md")
    (tmp_path / "script.py").write_text(script)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": ""},  # a line in one piece
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    first, second = run.stdout.splitlines()
    assert first == second and first.startswith("0 ")
