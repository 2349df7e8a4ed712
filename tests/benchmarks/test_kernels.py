"""benchmarks/kernels.py: it refuses to time wrong kernels, measures what it claims, and judges."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    out = "--out", tmp_path / "kernels.json", "--figure", tmp_path / "kernels.png"
    command = [sys.executable, "benchmarks/kernels.py", "--quick", *out, *options]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(
        [*map(str, command)], cwd=ROOT, capture_output=True, text=True, env=environment
    )


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def a_test(tmp_path: Path, body: str) -> str:
    path = tmp_path / "test_of_kernels.py"
    path.write_text(f"def test_that_says_so():\n    {body}\n")
    return str(path)


@pytest.mark.slow
def test_a_quick_run_measures_every_contestant(tmp_path):
    done = start(tmp_path, "--sizes", "1024", "--tests", a_test(tmp_path, "pass"))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "kernels.json").read_text())
    assert (tmp_path / "kernels.png").stat().st_size > 10_000
    assert results["commit"] and results["device"] and results["versions"]["open_clip_torch"]
    rows = {(row["op"], row["impl"], row["keys"]): row for row in results["rows"]}
    for op in ("infonce", "supcon", "siglip", "multiclass_nce", "affinity_kl"):
        assert {(op, impl, 1024) for impl in ("reference", "plain", "tiled")} <= set(rows)
        matrix_mb = 1024**2 * 4 / 2**20
        assert rows[op, "plain", 1024]["extra_mb"] > 2 * matrix_mb
    assert ("supcon", "pytorch-metric-learning", 1024) in rows
    assert ("infonce", "open_clip", 1024) in rows and ("siglip", "open_clip", 1024) in rows
    assert {impl for op, impl, _ in rows if op == "khn"} == {"reference", "plain", "tiled"}
    assert ("infonce", "tiled", 512) in rows  # by itself
    for row in results["rows"]:
        assert row["note"] == "" and min(row["times"]) == pytest.approx(row["seconds"], abs=1e-6)
        assert row["process_mb"] > row["extra_mb"] >= 0
        if row["op"] != "khn":
            flop = 8 * row["rows"] * row["keys"] * row["dim"]
            assert row["gflops"] == pytest.approx(flop / row["seconds"] / 1e9)
            assert row["share_of_matmul"] > 0
    assert {target["met"] for target in results["targets"]} == {
        None
    }  # no target refers to these sizes
    assert "targets on cpu" in done.stdout


def test_nothing_is_timed_while_a_test_is_red(tmp_path):
    done = start(tmp_path, "--tests", a_test(tmp_path, "assert 'the kernel' == 'right'"))
    assert done.returncode != 0
    assert "test_that_says_so" in done.stderr and "nothing is timed" in done.stderr
    assert not (tmp_path / "kernels.json").exists()


def test_nothing_is_timed_without_a_test(tmp_path):
    done = start(tmp_path, "--tests", str(tmp_path))
    assert done.returncode != 0 and "nothing is timed" in done.stderr


def test_an_unknown_loss_is_one_sentence(tmp_path):
    done = start(tmp_path, "--ops", "infonse")
    assert done.returncode != 0 and "unknown losses ['infonse']" in done.stderr


def row(script, op, impl, keys, seconds, extra_mb, share=None, **more):
    fields = {"seconds": seconds, "extra_mb": extra_mb, "share_of_matmul": share, **more}
    rows = 1024 if op == "khn" else keys
    return script("kernel_costs.targets").Row(op, impl, rows, keys, 512, "float32", **fields)


def judged(script, rows, device):
    targets = script("kernel_costs.targets").targets_of(rows, device)
    return {one.what: (one.measured, one.met) for one in targets if one.measured is not None}


def test_the_targets_of_a_cpu(script):
    rows = [
        row(script, "supcon", "plain", 8192, 2.0, 1000.0),
        row(script, "supcon", "tiled", 8192, 1.0, 50.0, 0.6),
        row(script, "supcon", "pytorch-metric-learning", 8192, 6.0, 3000.0),
        row(script, "supcon", "tiled", 65_536, 30.0, 200.0, process_mb=2862.0),
        row(script, "supcon", "tiled", 4096, 9.0, 9.0, 0.1),
        row(script, "khn", "reference", 65_536, 5.0, 2000.0),
        row(script, "khn", "tiled", 65_536, 5.0, 401.0),
    ]
    assert judged(script, rows, "cpu") == {
        "supcon: time, tiled / plain": (0.5, False),
        "supcon: share of the matmul rate": (0.6, True),
        "supcon: extra memory, tiled / plain": (0.05, True),
        "supcon: time, pytorch-metric-learning / tiled": (6.0, True),
        "supcon, N = M = 65,536: memory of the whole process": (2862.0, False),
        "khn: extra memory, reference / tiled": (pytest.approx(2000 / 401), False),
        "khn: time, tiled / reference": (1.0, True),
    }


def test_the_targets_of_a_gpu(script):
    rows = [
        row(script, "infonce", "triton", 65_536, 2.0, 380.0, 0.39),
        row(script, "infonce", "plain compiled", 65_536, None, None, note="does not fit"),
        row(script, "infonce", "plain compiled", 8192, 0.5, 900.0),
        row(script, "infonce", "triton", 8192, 1.0, 30.0, 0.3),
        row(script, "infonce", "plain compiled", 16_384, 2.0, 900.0),
        row(script, "infonce", "triton", 16_384, 1.0, 30.0, 0.3),
        row(script, "infonce", "inf-cl", 65_536, 3.0, 300.0),
        row(script, "infonce", "triton", 1_048_576, 20.0, 3000.0),
    ]
    assert judged(script, rows, "cuda") == {
        "infonce: share of the matmul rate": (0.39, False),
        "infonce: extra memory beyond the gradients": (380.0 - 128.0, True),
        "infonce: time, plain compiled / triton, least of all sizes": (0.5, False),
        "infonce: time, inf-cl / triton": (1.5, True),
        "infonce, N = M = 1,048,576 completes": (1.0, True),
    }


def test_contestants_that_disagree_are_not_timed(script):
    measure, setting = script("kernel_costs.measure"), script("kernel_costs.problem").Setting
    here = setting("infonce", 8, 8, 4, "float32", "cpu", 1)
    measure.check_equal({"plain": 2.0, "tiled": 2.001}, here)
    with pytest.raises(ValueError, match=r"plain loss is 2.0.*'tiled': 2.01"):
        measure.check_equal({"plain": 2.0, "tiled": 2.01}, here)


def test_the_plain_losses_are_the_kernels(script):
    contestants, problem = script("kernel_costs.contestants"), script("kernel_costs.problem")
    for op in contestants.OPS:
        p = problem.make_problem(problem.Setting(op, 40, 60, 16, "float32", "cpu", 1))
        gradients = []
        for name in contestants.names_of(op, "cpu", compiled=False):
            p.forget()
            contestants.contestant(op, name)(p).backward()
            # pytorch-metric-learning normalises the rows, which removes the radial part.
            rows, grad = p.rows.detach(), p.rows.grad
            gradients.append(grad - (grad * rows).sum(dim=1, keepdim=True) * rows)
        assert len(gradients) >= 2
        for other in gradients[1:]:
            assert (other - gradients[0]).norm() < 1e-4 * gradients[0].norm(), op


def test_a_table_and_a_figure(script, tmp_path):
    tables = script("kernel_costs.tables")
    rows = [
        row(script, "siglip", "plain", 1024, 0.5, 100.0, 0.1),
        row(script, "siglip", "plain", 8192, 2.0, 1000.0, 0.2),
        row(script, "siglip", "tiled", 8192, 0.5, 40.0, 0.8),
        row(script, "siglip", "plain compiled", 8192, None, None, note="does not fit"),
    ]
    results = {
        "device": "cpu",
        "config": {"dim": 512, "dtype": "float32"},
        "rows": [vars(one) for one in rows],
    }
    table = tables.figures_table(results).splitlines()[2:]
    assert table == [
        "| `siglip` | plain | 8,192 × 8,192 | 2,000 | 1.00 | 1,000 | 1.000 | 0.20 |",
        "| `siglip` | tiled | 8,192 × 8,192 | 500 | 0.25 | 40 | 0.040 | 0.80 |",
        "| `siglip` | plain compiled | 8,192 × 8,192 | does not fit | | | | |",
    ]
    tables.draw(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
