"""Which implementation runs, and the error when one cannot."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tests.kernels.problems import OPS, make
from xdistill.kernels import dispatch
from xdistill.kernels.dispatch import SMALLEST_TILED, choose, why_no_triton
from xdistill.kernels.passes import implementations
from xdistill.kernels.tiled import affinity as tiled_affinity
from xdistill.kernels.tiled import passes as tiled


@pytest.fixture
def compiled_only(monkeypatch):
    """Triton is installed and its interpreter is off."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(dispatch, "TRITON_IS_INSTALLED", True)


def test_auto_is_tiled_from_the_size_at_which_that_pays():
    few, many = torch.zeros(2**10 - 1, 1), torch.zeros(2**10, 1)
    keys = SMALLEST_TILED // 2**10
    assert choose("infonce", "auto", few, keys) == "reference"
    assert choose("infonce", "auto", many, keys) == "tiled"


@pytest.mark.parametrize("impl", ["reference", "tiled"])
def test_what_is_asked_for_is_taken_whatever_the_size(impl):
    for rows in (1, 2**10):
        assert choose("infonce", impl, torch.zeros(rows, 1), 2**10) == impl


class OnGPU(torch.Tensor):
    """A tensor that claims to be on a GPU."""

    is_cuda = True


def test_auto_on_a_gpu_is_triton_where_that_runs(compiled_only):
    x = torch.zeros(3, 2).as_subclass(OnGPU)
    assert choose("infonce", "auto", x, 3) == "triton"
    assert choose("infonce", "triton", x, 3) == "triton"
    assert choose("infonce", "auto", x.double(), 3) == "reference"


def test_why_triton_cannot_run(compiled_only, monkeypatch):
    x = torch.zeros(3, 2)
    assert why_no_triton(x) == "it needs a CUDA device and the rows are on cpu"
    assert why_no_triton(x.double()) == "it computes in float32 and the rows are float64"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert why_no_triton(x) is None
    monkeypatch.setattr(dispatch, "TRITON_IS_INSTALLED", False)
    assert why_no_triton(x) == "the package triton is not installed"


@pytest.mark.parametrize("op", OPS)
def test_asking_for_what_cannot_run(compiled_only, op):
    problem = make(op, 4, 4, 3)
    for dtype, reason in [(torch.float32, "needs a CUDA device"), (torch.float64, "float64")]:
        inputs = problem.to(dtype).inputs
        with pytest.raises(ValueError, match=f'{op}: impl="triton" cannot run: .*{reason}.*tiled'):
            problem.to(dtype).kernel("triton")(*inputs)


@pytest.mark.parametrize("op", OPS)
def test_an_unknown_name(op):
    problem = make(op, 4, 4, 3)
    with pytest.raises(ValueError, match=f"{op}: unknown impl 'fast'; choose one of .*'tiled'"):
        problem.kernel("fast")(*problem.inputs)


@pytest.mark.parametrize("op", OPS)
def test_the_losses_size_decides_for_auto(op, monkeypatch):
    problem = make(op, 6, 6, 3)
    tiles = []
    real = tiled.tiles
    monkeypatch.setattr(tiled, "tiles", lambda x, k: tiles.append(len(x) * len(k)) or real(x, k))
    problem.kernel("auto")(*problem.inputs)
    assert not tiles
    monkeypatch.setattr(dispatch, "SMALLEST_TILED", 36)
    problem.kernel("auto")(*problem.inputs)
    assert 36 in tiles


def test_the_tiled_passes_are_found():
    assert implementations.passes_of("tiled") is tiled
    assert implementations.affinity_of("tiled") is tiled_affinity


def test_importing_and_running_needs_no_triton():
    code = """
import sys, torch
from xdistill.kernels import infonce
infonce(torch.eye(3), torch.eye(3), 1.0, impl="tiled")
infonce(torch.eye(3), torch.eye(3), 1.0)
assert not [name for name in sys.modules if name.startswith("xdistill.kernels.triton")]
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
