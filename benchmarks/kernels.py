"""What the contrastive kernels cost: time and memory, forward and backward, over the batch size.

Compared are the library's implementations, the loss as a training script writes it in plain PyTorch
(also under `torch.compile`), and public packages. Contestants of one loss and size are timed in
turn in one process, so that their ratios do not depend on how busy the machine is; memory is
measured in a process of its own. Writes results/kernels.json and docs/images/kernels.png. Nothing
is timed while a kernel test fails.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import tyro
from kernel_costs.contestants import COMPILED, OPS, names_of
from kernel_costs.measure import (
    MATMUL,
    in_fresh_process,
    killed_or,
    matmul_flop,
    peak_memory,
    time_in_turn,
)
from kernel_costs.problem import Setting
from kernel_costs.tables import HEAD, draw, line, targets_text
from kernel_costs.targets import ALONE_AT, KHN_BANK, MEASURED_AT, Row, targets_of

from xdistill.report import environment, write_json

HERE = Path(__file__).parent
ROOT = HERE.parent
COMPILED_OPS = ("infonce", "supcon", "siglip")


@dataclass(frozen=True)
class Options:
    """What to measure."""

    quick: bool = False
    """Run small sizes once to see that everything works; meaningless figures go to runs/."""
    ops: tuple[str, ...] = OPS
    """Which losses."""
    sizes: tuple[int, ...] = ()
    """N = M of the comparison; 1024 to 8192 on a CPU and 8192 to 65,536 on a GPU when empty."""
    alone: tuple[str, ...] = ("infonce", "supcon", "siglip")
    """Losses for which our kernel also runs by itself, at N = M = 65,536, on a GPU at 1,048,576."""
    repeats: int = 3
    """Rounds after one that warms up; the best one counts."""
    least_s: float = 1.0
    """Further rounds are run until a contestant has been timed for this long."""
    patience_s: float = 15.0
    """A contestant that has taken this long at one size is left out of further rounds."""
    threads: int = 2
    """CPU threads."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """Where to run."""
    tests: tuple[str, ...] = ("tests/kernels",)
    """The tests that must pass before anything is timed."""
    out: Path | None = None
    """Where the JSON goes; by default results/kernels.json."""
    figure: Path | None = None
    """Where the figure goes; by default docs/images/kernels.png."""


@dataclass(frozen=True)
class Plan:
    """The sizes of a run.

    Attributes:
        sizes: N = M of the comparison.
        compiled: those of them at which the plain loss is also compiled.
        alone: N = M at which our kernel runs by itself.
        khn_rows: B of khn.
        banks: numbers of bank keys of khn.
        dim: D.
        dtype: of rows and keys.
    """

    sizes: tuple[int, ...]
    compiled: tuple[int, ...]
    alone: int
    khn_rows: int
    banks: tuple[int, ...]
    dim: int
    dtype: str


CPU = Plan(
    (1024, 2048, 4096, MEASURED_AT["cpu"]),
    (2048, MEASURED_AT["cpu"]),
    ALONE_AT["cpu"],
    1024,
    (4096, 16_384, KHN_BANK),
    128,
    "float32",
)
GPU = Plan(
    (8192, 16_384, 32_768, MEASURED_AT["cuda"]),
    (8192, 16_384, 32_768, MEASURED_AT["cuda"]),
    ALONE_AT["cuda"],
    1024,
    (4096, 16_384, KHN_BANK),
    512,
    "bfloat16",
)
QUICK = Plan((256,), (), 512, 32, (256,), 32, "float32")


def plan_of(options: Options) -> Plan:
    """The sizes that the options ask for on their device."""
    plan = QUICK if options.quick else CPU if options.device == "cpu" else GPU
    if not options.sizes:
        return plan
    compiled = () if options.quick else options.sizes[-2:]
    return Plan(
        options.sizes, compiled, plan.alone, plan.khn_rows, plan.banks, plan.dim, plan.dtype
    )


def measure(options: Options, plan: Plan) -> Iterator[Row]:
    """Every row of the results."""
    for op in options.ops:
        for size in plan.banks if op == "khn" else plan.sizes:
            rows = plan.khn_rows if op == "khn" else size
            dtype = "float32" if op == "khn" else plan.dtype
            setting = Setting(op, rows, size, plan.dim, dtype, options.device, options.threads)
            yield from compare(setting, options, size in plan.compiled and op in COMPILED_OPS)
        if op in options.alone and op != "khn":
            yield alone(op, plan, options)


def compare(setting: Setting, options: Options, compiled: bool) -> Iterator[Row]:
    """All contestants at one size: timed in turn, then each one's memory."""
    names = names_of(setting.op, setting.device, compiled)
    repeats, least_s = (1, 0.0) if options.quick else (options.repeats, options.least_s)
    timings = in_fresh_process(time_in_turn, setting, names, repeats, least_s, options.patience_s)
    matmul = matmul_flop(setting.device) / min(timings[MATMUL].times)
    for name in names:
        row, timing = new_row(setting, name), timings[name]
        row.note, row.times = timing.note, [round(one, 6) for one in timing.times]
        if timing.times:
            add_rate(row, min(timing.times), matmul)
            # What compiles at its first step must do so in the warm-up, hence with all rows.
            whole = name == COMPILED or setting.device != "cpu"
            memory = killed_or(peak_memory, setting, name, whole)
            row.note, row.extra_mb, row.process_mb = memory.note, memory.extra, memory.process
        yield row


def alone(op: str, plan: Plan, options: Options) -> Row:
    """Our kernel where no matrix of similarities fits: one step in a process of its own."""
    size, name = plan.alone, "tiled" if options.device == "cpu" else "triton"
    setting = Setting(op, size, size, plan.dim, plan.dtype, options.device, options.threads)
    memory = killed_or(peak_memory, setting, name, False, spawn=True)
    row = new_row(setting, name)
    row.note, row.extra_mb, row.process_mb = memory.note, memory.extra, memory.process
    if memory.seconds is not None:
        row.times = [memory.seconds]
        timing = in_fresh_process(time_in_turn, setting.small(), [], 5, 0.0, options.patience_s)
        add_rate(row, memory.seconds, matmul_flop(options.device) / min(timing[MATMUL].times))
    return row


def new_row(setting: Setting, name: str) -> Row:
    """A row without numbers."""
    return Row(setting.op, name, setting.rows, setting.keys, setting.dim, setting.dtype)


def add_rate(row: Row, seconds: float, matmul: float) -> None:
    """Enter a time, and its rate relative to `matmul`, a matrix product's operations per second."""
    row.seconds = seconds
    if row.op != "khn":
        rate = 8 * row.rows * row.keys * row.dim / seconds
        row.gflops, row.share_of_matmul = rate / 1e9, rate / matmul


def require_green_tests(tests: tuple[str, ...]) -> None:
    """Refuse to time kernels whose tests fail.

    Raises:
        SystemExit: a test fails, or there is none.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{done.stdout[-4000:]}{done.stderr[-1000:]}\n"
            f"the kernel tests are red (pytest exit status {done.returncode}): nothing is timed; "
            f"make `pytest {' '.join(tests)}` pass first"
        )


def provenance() -> dict[str, Any]:
    """Versions, device and commit."""
    made = environment()
    for package in ("triton", "pytorch-metric-learning", "open_clip_torch", "inf-cl"):
        try:
            made["versions"][package] = version(package)
        except PackageNotFoundError:
            made["versions"][package] = None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {**made, "commit": done.stdout.strip() or None}


def main(options: Options) -> None:
    """Test, measure, print, write, draw.

    Raises:
        SystemExit: an unknown loss, or a kernel test that fails.
    """
    unknown = sorted({*options.ops, *options.alone} - set(OPS))
    if unknown:
        raise SystemExit(f"error: unknown losses {unknown}; choose among {list(OPS)}")
    torch.set_num_threads(options.threads)
    multiprocessing.set_forkserver_preload(
        ["torch", "xdistill.kernels", "open_clip.loss", "pytorch_metric_learning.losses"]
    )
    folder = ROOT / "runs" / "kernels-quick"
    out = options.out or (folder if options.quick else HERE / "results") / "kernels.json"
    figure = options.figure or (folder if options.quick else ROOT / "docs/images") / "kernels.png"
    for path in (out, figure):
        path.parent.mkdir(parents=True, exist_ok=True)
    require_green_tests(options.tests)
    plan = plan_of(options)
    print(HEAD)
    rows = []
    for row in measure(options, plan):
        print(line(row), flush=True)
        rows.append(row)
    config = {**asdict(options), **asdict(plan), "out": out.name, "figure": figure.name}
    targets = [asdict(one) for one in targets_of(rows, options.device)]
    results = {
        "benchmark": "kernels",
        **provenance(),
        "config": config,
        "gpu": options.device != "cpu",
        "matmul_gflops": max((r.gflops / r.share_of_matmul for r in rows if r.gflops), default=0.0),
        "rows": [asdict(row) for row in rows],
        "targets": targets,
    }
    print(f"\n{targets_text(targets, results['device'])}")
    write_json(out, results)
    draw(results, figure)
    print(f"\n{out}\n{figure}")


if __name__ == "__main__":
    main(tyro.cli(Options))
